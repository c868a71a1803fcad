//! The declarations and hooks that the macros generate, at run time.
#![allow(clippy::unwrap_used)] // A failed unwrap is the test's failure.

use std::sync::Mutex;
use std::time::Duration;

use faust_macros::{agent, record, window_close, window_late};
use futures_util::FutureExt;

use crate::agent::AgentHandle;
use crate::declare::{ArgSpec, RelativeTo};
use crate::error::{BoxError, Error};
use crate::stage::context::StageMode;
use crate::stage::recorder::PlanRecorder;
use crate::stage::{AgentArg, AgentCx, HookCall, HookHandle, HookKind, LateEvent};
use crate::stream::Stream;
use crate::table::{Table, WindowedTable};
use crate::time::Timestamp;
use crate::window::{Window, WindowSpec};

/// The facade crate, as the macros see it.
mod facade {
    pub(super) use crate::__private;
    pub(super) use crate::agent::AgentHandle;
    pub(super) use crate::stage::HookHandle;
}

/// An argument that records its declaration. The macro reads the generic parameters.
#[derive(Clone)]
struct Spy<K, V>(std::marker::PhantomData<fn() -> (K, V)>);

static SEEN: Mutex<Vec<&'static ArgSpec>> = Mutex::new(Vec::new());

impl<K, V> AgentArg for Spy<K, V> {
    fn arg(_: &mut AgentCx<'_>, spec: &'static ArgSpec) -> Result<Self, Error> {
        SEEN.lock().unwrap().push(spec);
        Ok(Self(std::marker::PhantomData))
    }
}

#[record(crate = facade)]
struct Click {
    at: i64,
}

#[agent(topic = "clicks", crate = facade)]
async fn count(
    _clicks: Stream<Click>,
    #[table(name = "sums", default = 10, help = "Sums", value_codec = "json", partition_by_source)] _a: Spy<
        String,
        i64,
    >,
    #[table(window = hopping("1m", "10s"), expires = "1h", default = "none", relative_to = field(Click::at))] _b: Spy<
        String,
        String,
    >,
) {
}

fn with_context<R>(agent: &'static str, then: impl FnOnce(&mut AgentCx<'_>) -> R) -> R {
    then(&mut AgentCx { agent, sinks: &[], mode: StageMode::Planning(PlanRecorder::new(agent, "shop")) })
}

#[test]
fn declarations_contain_the_attribute_values() {
    with_context("count", |cx| (count::DEF.start)(cx).map(drop)).unwrap();
    let [sums, windowed] = SEEN.lock().unwrap()[..] else { panic!("two tables") };
    let sums = sums.table.unwrap();
    assert_eq!((sums.name, sums.help, sums.value_codec), (Some("sums"), "Sums", Some("json")));
    assert!(sums.partition_by_source && sums.window.is_none());
    assert_eq!(*(sums.default.unwrap())().downcast::<i64>().unwrap(), 10);

    let table = windowed.table.unwrap();
    assert_eq!((windowed.name, table.name), ("_b", None));
    let seconds = Duration::from_secs;
    let window = WindowSpec::hopping(seconds(60), seconds(10)).and_then(|spec| spec.with_expires(seconds(3600)));
    assert_eq!(table.window.unwrap().spec().unwrap(), window.unwrap());
    assert_eq!(*(table.default.unwrap())().downcast::<String>().unwrap(), "none");
    let RelativeTo::Field(read) = table.relative_to else { panic!("{:?}", table.relative_to) };
    assert_eq!(read(&Click { at: 7 }), Some(Timestamp(7)));
    assert_eq!(read(&Some(Click { at: 7 })), Some(Timestamp(7)));
    assert_eq!(read(&7_i64), None);
}

static CALLS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes the total.
#[window_close(table = "sums", crate = facade)]
async fn closed(key: String, window: Window, total: i64) -> Result<(), BoxError> {
    CALLS.lock().unwrap().push(format!("{key} {window} {total}"));
    if total < 0 { Err("below zero".into()) } else { Ok(()) }
}

#[window_late(table = "sums", crate = facade)]
async fn late(key: u32, window: Window, event: LateEvent) {
    CALLS.lock().unwrap().push(format!("{key} {window} {}", event.timestamp()));
}

#[test]
fn hooks_receive_decoded_arguments() {
    assert_eq!((closed::DEF.kind, closed::DEF.table, closed::DEF.name), (HookKind::Close, "sums", "closed"));
    assert_eq!((closed::DEF.help, late::DEF.kind), ("Notes the total.", HookKind::Late));
    let listed = inventory::iter::<crate::stage::HookDef>.into_iter().filter(|def| def.module == module_path!());
    assert_eq!(listed.count(), 2);

    let window = Window::new(Timestamp(0), Timestamp(10));
    let hook = with_context("closed", closed::DEF.start).unwrap();
    let close = |value: &[u8]| hook(HookCall::Close { key: b"a".into(), window, value: value.into() }).now_or_never();
    assert!(close(b"7").unwrap().is_ok());
    assert_eq!(close(b"-1").unwrap().unwrap_err().to_string(), "below zero");
    let hook = with_context("late", late::DEF.start).unwrap();
    let event = LateEvent::new(Timestamp(3), Timestamp(20));
    assert!(hook(HookCall::Late { key: b"12".into(), window, event }).now_or_never().unwrap().is_ok());
    assert_eq!(
        *CALLS.lock().unwrap(),
        [
            "a [1970-01-01T00:00:00.000Z, +10ms) 7",
            "a [1970-01-01T00:00:00.000Z, +10ms) -1",
            "12 [1970-01-01T00:00:00.000Z, +10ms) 3"
        ]
    );
}

/// Law: a refused key has no value, and the value of no other key is read or changed in its place.
#[test]
fn a_refused_key_has_no_value() {
    let table: Table<Option<Option<u8>>, u64> = Table::in_memory("refusing");
    let key = Some(None);
    table.set(&key, 5);
    assert_eq!((table.insert(&key, 6), table.remove(&key)), (None, None));
    assert_eq!(table.update(&key, |value| *value + 1), 1);
    table.entry(&key).and_modify(|value| *value += 1).or_insert(7);
    assert_eq!((table.get(&key), table.find(&key), table.contains(&key)), (0, None, false));
    assert_eq!(table.with(&key, |value| value.copied()), None);
    assert_eq!(table.range(key..).count(), 0);
    assert_eq!(table.len(), 0);

    let spec = WindowSpec::tumbling(Duration::from_secs(10)).unwrap();
    let windows: WindowedTable<Option<Option<u8>>, u64> = WindowedTable::in_memory("refusing", spec);
    let now = windows.at_time(Timestamp(1));
    now.set(&key, 5);
    now.update(&key, |value| *value += 1);
    now.remove(&key);
    assert_eq!((now.get(&key).current(), now.get(&key).find_window(spec.current(Timestamp(1)))), (0, None));
    assert_eq!((windows.history(&key).count(), windows.len()), (0, 0));
}
