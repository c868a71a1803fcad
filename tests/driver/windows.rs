//! Windowed tables compared with a brute-force oracle: their contents, closed windows and late events, with any
//! crashes.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use faust::__private::{AgentCx, AgentDef, AgentFuture, ArgSpec, TableDecl, TopicDecl, WindowDecl, arg};
use faust::prelude::*;
use faust::testing::{ClusterFault, TestMessage};
use faust::{AgentHandle, AppBuilder, Error, Offset, WindowSpec};
use proptest::prelude::*;

use super::chaos::{
    Chaos, Disk, Held, Input, Step, base, cases, faults, faults_of_transactions, histories, history, input, number,
    step, store, trip,
};

thread_local! {
    /// The windowed table of the current case. An agent's declaration is static, but the windows of these tests are
    /// random.
    static TABLE: Cell<&'static ArgSpec> = panic!("no case has set its windows");
}

/// Sums values in windows; a value that ends in 7 makes it send the contents of the table.
#[allow(non_camel_case_types)]
struct windowed;

impl AgentHandle for windowed {
    const DEF: AgentDef = def("windowed", |cx| {
        static NUMBERS: ArgSpec = ArgSpec::new("numbers");
        let numbers: Stream<i64, String> = arg(cx, &NUMBERS)?;
        start(cx, numbers)
    });
}

/// Like [`windowed`], behind a `group_by`.
#[allow(non_camel_case_types)]
struct grouped;

impl AgentHandle for grouped {
    const DEF: AgentDef = def("grouped", |cx| {
        static NUMBERS: ArgSpec = ArgSpec::new("numbers");
        let numbers: Stream<i64, String> = arg(cx, &NUMBERS)?;
        start(cx, numbers.group_by("units", |n| format!("g{}", n % 10)))
    });
}

const fn def(name: &'static str, start: fn(&mut AgentCx<'_>) -> Result<AgentFuture, Error>) -> AgentDef {
    AgentDef::new(name, &["in"], start)
}

fn start(cx: &mut AgentCx<'_>, numbers: Stream<i64, String>) -> Result<AgentFuture, Error> {
    static DUMPS: ArgSpec = ArgSpec::new("dumps").with_topic(TopicDecl::new("dumps"));
    let sums: WindowedTable<String, i64> = arg(cx, TABLE.get())?;
    let dumps: Topic<(i32, Offset), Dump> = arg(cx, &DUMPS)?;
    Ok(Box::pin(sum(numbers, sums, dumps)))
}

async fn sum(
    mut numbers: Stream<i64, String>,
    sums: WindowedTable<String, i64>,
    dumps: Topic<(i32, Offset), Dump>,
) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        trip()?;
        sums.update(event.key(), |sum| *sum += event.value());
        if event.value() % 10 == 3 {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        trip()?;
        if *event.value() == REMOVES {
            sums.remove(event.key());
        }
        if event.value() % 10 == DUMPS {
            let all = sums.iter().map(|(key, window, sum)| (window.start().0, key, sum)).collect();
            dumps.send(&(event.partition(), event.offset()), &all).await?;
        }
    }
    Ok(())
}

/// Last digit of values that request the contents of the table.
const DUMPS: i64 = 7;

/// Value that removes its key from the event's windows.
const REMOVES: i64 = 50;

#[window_close(table = "sums")]
async fn closed(
    key: String,
    window: Window,
    sum: i64,
    #[topic("closed")] out: Topic<String, (i64, i64)>,
) -> Result<()> {
    trip()?;
    out.send(&key, &(window.start().0, sum)).await?;
    trip()
}

#[window_late(table = "sums")]
async fn late(
    key: String,
    window: Window,
    event: LateEvent,
    #[topic("late")] out: Topic<String, (i64, i64)>,
) -> Result<()> {
    trip()?;
    out.send(&key, &(window.start().0, event.offset().0)).await?;
    trip()
}

/// The start, key and sum of every window.
type Dump = Vec<(i64, String, i64)>;

/// The window specification of a case, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Windows {
    size: i64,
    step: i64,
    expires: i64,
}

/// Generates window specifications of all kinds, with a grace period between zero and the full span of input times.
fn windows() -> impl Strategy<Value = Windows> {
    let size = prop_oneof![1i64..10, 1i64..300, 1i64..5000];
    let expires = prop_oneof![Just(0i64), 0i64..200, 0i64..3000, Just(SPAN)];
    (size, 1i64..8, 0i64..2, expires).prop_map(|(size, parts, odd, expires)| {
        let step = (size / parts + odd).clamp(1, size);
        Windows { size, step, expires }
    })
}

/// Span of the events' timestamps, in milliseconds.
const SPAN: i64 = 3000;

/// The expected results of a partition's messages.
#[derive(Debug, Default)]
struct Oracle {
    sums: BTreeMap<(i64, String), i64>,
    stream_time: Option<i64>,
    closed: Vec<(String, (i64, i64))>,
    late: Vec<(String, (i64, i64))>,
    dumps: BTreeMap<(i32, Offset), Dump>,
}

impl Oracle {
    /// Applies one message, by trying every possible window.
    fn take(&mut self, windows: Windows, message: &TestMessage) {
        let Windows { size, step, expires } = windows;
        let key = String::from_utf8(message.key.clone().unwrap()).unwrap();
        let (value, time) = (number(message.payload.as_deref()), message.timestamp.0);
        let now = self.stream_time.unwrap_or(i64::MIN).max(time);
        self.stream_time = Some(now);
        let first = (time - size).div_euclid(step) - 1;
        for start in (first..).map(|n| n * step).take_while(|start| *start <= time) {
            if start + size <= time {
                continue;
            }
            if start + size + expires <= now {
                self.late.push((key.clone(), (start, message.offset.0)));
                // The removal that follows is late as well.
                if value == REMOVES {
                    self.late.push((key.clone(), (start, message.offset.0)));
                }
            } else if value == REMOVES {
                self.sums.remove(&(start, key.clone()));
            } else {
                *self.sums.entry((start, key.clone())).or_default() += value;
            }
        }
        if value % 10 == DUMPS {
            let all = self.sums.iter().map(|((start, key), sum)| (*start, key.clone(), *sum)).collect();
            self.dumps.insert((message.partition, message.offset), all);
        }
        let (gone, left) =
            std::mem::take(&mut self.sums).into_iter().partition(|((start, _), _)| start + size + expires <= now);
        self.sums = left;
        let gone: BTreeMap<(i64, String), i64> = gone;
        self.closed.extend(gone.into_iter().map(|((start, key), sum)| (key, (start, sum))));
    }
}

/// A cluster whose agent reads `topic`, with the windows of a case.
struct World {
    chaos: Chaos,
    windows: Windows,
    topic: &'static str,
}

impl World {
    fn new(app: AppBuilder, topic: &'static str, windows: Windows, store: &str) -> Self {
        let Windows { size, step, expires } = windows;
        let [size, step, expires] = [size, step, expires].map(|ms| Duration::from_millis(ms.unsigned_abs()));
        let window = WindowSpec::hopping(size, step).and_then(|spec| spec.with_expires(expires)).unwrap();
        let window = Some(WindowDecl::Of(window));
        let spec = ArgSpec::new("sums").with_table(TableDecl { window, ..TableDecl::new() });
        TABLE.set(Box::leak(Box::new(spec)));
        let partitions = if topic == "in" { 3 } else { 8 };
        let mut chaos = Chaos::new(app.hook::<closed>().hook::<late>(), partitions, store);
        if topic != "in" {
            chaos.behind(topic);
        }
        Self { chaos, windows, topic }
    }

    fn direct(windows: Windows, store: &str) -> Self {
        Self::new(App::new("windows").only::<windowed>(), "in", windows, store)
    }

    /// Returns the expected results of all messages in the agent's topic.
    fn oracle(&mut self) -> Oracle {
        let mut all = Oracle::default();
        let mut partitions: BTreeMap<i32, Oracle> = BTreeMap::new();
        for message in self.chaos.driver.messages(self.topic).unwrap() {
            partitions.entry(message.partition).or_default().take(self.windows, &message);
        }
        for oracle in partitions.into_values() {
            all.sums.extend(oracle.sums);
            all.closed.extend(oracle.closed);
            all.late.extend(oracle.late);
            all.dumps.extend(oracle.dumps);
        }
        all.closed.sort();
        all.late.sort();
        all
    }

    /// Returns the messages that a hook has sent to `topic`, sorted.
    fn reported(&mut self, topic: &str) -> Vec<(String, (i64, i64))> {
        let mut reported = self.chaos.driver.read::<String, (i64, i64)>(topic).unwrap();
        reported.sort();
        reported
    }

    /// Returns the contents of the changelog: the last record of each key.
    fn logged(&mut self) -> BTreeMap<(i64, String), i64> {
        let mut logged = BTreeMap::new();
        for message in self.chaos.driver.messages("windows-sums-changelog").unwrap() {
            let bytes = message.key.unwrap();
            let (key, start) = bytes.split_last_chunk::<8>().unwrap();
            let at = (i64::from_be_bytes(*start), String::from_utf8(key.to_vec()).unwrap());
            match message.payload {
                Some(payload) => logged.insert(at, number(Some(&payload))),
                None => logged.remove(&at),
            };
        }
        logged
    }

    /// Checks the guarantees that hold for every history: no result is missing or wrong, and repeated results are
    /// identical.
    fn check_at_least_once(&mut self) {
        let oracle = self.oracle();
        let set = |all: Vec<(String, (i64, i64))>| all.into_iter().collect::<BTreeSet<_>>();
        assert_eq!(set(self.reported("closed")), set(oracle.closed), "closed windows");
        assert_eq!(set(self.reported("late")), set(oracle.late), "late events");
        let dumps = self.chaos.driver.read::<(i32, Offset), Dump>("dumps").unwrap();
        for (at, dump) in &dumps {
            assert_eq!(Some(dump), oracle.dumps.get(at), "the table at {at:?}");
        }
        assert_eq!(dumps.iter().map(|(at, _)| *at).collect::<BTreeSet<_>>(), oracle.dumps.into_keys().collect());
    }

    /// Checks that the last records of the changelog are the expected contents of the table. It holds after a restore: until
    /// then, they may be those of a former owner.
    fn check_changelog(&mut self) {
        let oracle = self.oracle();
        let logged = self.logged();
        let missing: Vec<_> = oracle.sums.iter().filter(|(at, sum)| logged.get(at) != Some(sum)).collect();
        let extra: Vec<_> = logged.iter().filter(|(at, sum)| oracle.sums.get(at) != Some(sum)).collect();
        assert!(missing.is_empty() && extra.is_empty(), "the changelog lacks {missing:?}, and has {extra:?} instead");
    }

    /// Like [`check_at_least_once`](Self::check_at_least_once), and compares each partition's table after a restore, with
    /// and without its disk.
    fn check_restores(&mut self) {
        self.check_at_least_once();
        for disk in [Disk::Kept, Disk::Lost] {
            self.chaos.crash_all(disk);
            self.chaos.apply(&Step::Start);
            let ask = (0..7).map(|key| Input { key, value: DUMPS, time: 0 }).collect();
            self.chaos.apply(&Step::Send(ask, None));
            self.chaos.finish();
            self.check_at_least_once();
            self.check_changelog();
        }
    }

    /// Checks the additional guarantee of histories without crashes and failures: no result is repeated.
    fn check_exactly_once(&mut self) {
        let oracle = self.oracle();
        assert_eq!(self.reported("closed"), oracle.closed, "closed windows");
        assert_eq!(self.reported("late"), oracle.late, "late events");
    }
}

proptest! {
    #![proptest_config(cases(16))]

    /// Law: without crashes, tables, closed windows and late events match the oracle, and each is reported once, even
    /// if workers are started and stopped at any time.
    #[test]
    fn windows_match_the_oracle(
        windows in windows(),
        store in store(),
        steps in prop::collection::vec(orderly(), 1..24),
        one_worker in any::<bool>(),
    ) {
        let mut world = World::direct(windows, store);
        for step in steps.iter().filter(|step| !one_worker || !matches!(step, Step::Start | Step::Stop(_))) {
            world.chaos.apply(step);
        }
        world.chaos.finish();
        world.check_at_least_once();
        world.check_changelog();
        world.check_exactly_once();
        if one_worker {
            let oracle = world.oracle();
            let counts = world.chaos.counts();
            prop_assert_eq!(counts[0].late_events, oracle.late.len() as u64);
            prop_assert_eq!(counts[0].windows_closed, oracle.closed.len() as u64);
        }
    }

    /// Law: crashes, failures and losses of disks, at any await point, cause nothing but repeated results.
    #[test]
    fn windows_survive_everything(
        windows in windows(),
        store in store(),
        steps in prop::collection::vec(step(SPAN), 1..24),
    ) {
        let mut world = World::direct(windows, store);
        steps.iter().for_each(|step| world.chaos.apply(step));
        world.chaos.finish();
        world.check_restores();
    }

    /// Law: behind a `group_by` of eight partitions that are replayed at different speeds, windows follow the order in
    /// which events arrived in the repartition topic; and no event is late if the grace period covers the difference.
    #[test]
    fn windows_behind_a_group_by_match_the_oracle(
        windows in windows(),
        kept in any::<bool>(),
        store in store(),
        steps in prop::collection::vec(step(SPAN), 1..16),
        skewed in prop::collection::vec((0i32..8, prop::collection::vec(input(SPAN), 1..10)), 1..12),
    ) {
        let windows = if kept { Windows { expires: SPAN, ..windows } } else { windows };
        let app = App::new("windows").only::<grouped>();
        let mut world = World::new(app, "windows-grouped-units-repartition", windows, store);
        let mut skewed = skewed.iter();
        for step in &steps {
            world.chaos.apply(step);
            // One partition at a time: the others do not advance, however old their events are.
            if let Some((partition, input)) = skewed.next() {
                for input in input {
                    let time = Timestamp(base().0 + input.time);
                    let options = |message: faust::SendOptions| message.timestamp(time).partition(*partition);
                    world.chaos.driver.send_with("in", &format!("k{}", input.key), &input.value, options).unwrap();
                }
                world.chaos.driver.run_until_idle();
            }
        }
        world.chaos.finish();
        world.chaos.restart(Disk::Lost);
        world.check_at_least_once();
        world.check_changelog();
        if kept {
            prop_assert_eq!(world.oracle().late, []);
        }
    }
}

/// Law: on a cluster that behaves as badly as Kafka can, nothing is missing or wrong, and repeated results are identical;
/// read directly, and behind a `group_by`.
fn survive(guarantee: &'static str, faults: &'static [ClusterFault]) {
    let strategy = (windows(), store(), any::<bool>(), history(SPAN, faults));
    histories(16, faults, &strategy, |(windows, store, behind_a_hop, history), count| {
        let app = App::new("windows").setting("processing_guarantee", guarantee);
        let mut world = if behind_a_hop {
            World::new(app.only::<grouped>(), "windows-grouped-units-repartition", windows, store)
        } else {
            World::new(app.only::<windowed>(), "in", windows, store)
        };
        world.chaos.run_history(&history);
        count(&world.chaos);
        world.chaos.finish();
        let keeps_stores = guarantee == "exactly_once";
        // A panic prints the timeline.
        assert!(!keeps_stores || !world.chaos.has_set_aside, "a store was replaced");
        if behind_a_hop {
            world.chaos.restart(Disk::Lost);
            world.check_at_least_once();
            world.check_changelog();
        } else {
            world.check_restores();
        }
        Ok(())
    });
}

#[test]
fn windows_survive_an_unkind_cluster() {
    survive("at_least_once", faults());
}

#[test]
fn windows_survive_lost_transactions() {
    survive("exactly_once", faults_of_transactions());
}

/// Generates steps without crashes, failures or held-back traffic.
fn orderly() -> impl Strategy<Value = Step> {
    let breaks = |step: &Step| {
        matches!(
            step,
            Step::Crash(_) | Step::CrashAll(_) | Step::Fail(_) | Step::Hold(Held::Commits | Held::CommitAnswers)
        )
    };
    step(SPAN).prop_filter("orderly", move |step| !breaks(step) && !matches!(step, Step::Hold(_)))
}

#[test]
fn a_window_that_is_rolled_back_and_written_again_closes() {
    let windows = Windows { size: 10, step: 10, expires: 0 };
    let mut world = World::direct(windows, "memory://");
    let at = |time| Input { key: 0, value: 1, time };
    // The first event fails after its write, is rolled back, and is processed again.
    world.chaos.apply(&Step::Fail(1));
    world.chaos.apply(&Step::Send(vec![at(0)], None));
    world.chaos.apply(&Step::Advance(500));
    world.chaos.apply(&Step::Send(vec![at(10)], None));
    assert_eq!(world.reported("closed"), [("k0".to_owned(), (base().0, 1))]);
}

#[test]
fn a_hook_that_fails_while_its_worker_stops_does_not_block_the_shutdown() {
    let mut world = World::direct(Windows { size: 10, step: 10, expires: 0 }, "memory://");
    let at = |value, time| Input { key: 0, value, time };
    // The second event is late and slow; its hook is called after the worker has begun to stop.
    world.chaos.apply(&Step::Send(vec![at(1, 100), at(3, 0)], None));
    world.chaos.apply(&Step::Fail(1));
    // This fails if the shutdown timeout is exceeded.
    world.chaos.stop(0);
    world.chaos.finish();
    world.check_at_least_once();
}

/// Runs ahead of [`gathers`], which shares its input.
#[agent(topic = "in")]
async fn runs_ahead(mut numbers: Stream<i64, String>) -> Result<()> {
    while numbers.next().await.is_some() {}
    Ok(())
}

/// Waits up to five seconds for a batch.
#[agent(topic = "in")]
async fn gathers(
    numbers: Stream<i64, String>,
    #[table(window = tumbling("10ms"), expires = "0s")] gathered: WindowedTable<String, i64>,
    #[topic("gathered-late")] late: Topic<String, i64>,
) -> Result<()> {
    let mut batches = numbers.take(2, Duration::from_secs(5));
    while let Some(batch) = batches.next_events().await {
        for event in &batch {
            gathered.at(event).update(event.key(), |sum| *sum += event.value());
            if gathered.at(event).get(event.key()).find_current().is_none() {
                late.send(event.key(), event.value()).await?;
            }
        }
    }
    Ok(())
}

#[test]
fn an_agent_without_finished_events_has_no_stream_time_after_a_restart() {
    let app = App::new("windows").only::<runs_ahead>().agent::<gathers>();
    let mut chaos = Chaos::new(app, 1, "memory://");
    let at = |key, time| Input { key, value: 1, time };
    // When the offsets are committed, one agent has reached time 100, and the other has half a batch.
    chaos.apply(&Step::Send(vec![at(0, 100)], None));
    chaos.apply(&Step::Commit);
    chaos.apply(&Step::CrashAll(Disk::Kept));
    chaos.apply(&Step::Start);
    chaos.apply(&Step::Send(vec![at(1, 0)], None));
    assert_eq!(chaos.driver.read::<String, i64>("gathered-late").unwrap(), [], "the first batch is not late");
}

/// Shares a table with [`behind`], and runs ahead of it.
#[agent(topic = "in")]
async fn in_front(
    mut numbers: Stream<i64, String>,
    #[table(window = tumbling("10ms"), expires = "0s")] both: WindowedTable<String, i64>,
) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        both.update(event.key(), |sum| *sum += event.value());
    }
    Ok(())
}

/// Shares a table with [`in_front`], and waits for batches.
#[agent(topic = "in")]
async fn behind(
    numbers: Stream<i64, String>,
    #[table(window = tumbling("10ms"), expires = "0s")] both: WindowedTable<String, i64>,
) -> Result<()> {
    let mut batches = numbers.take(2, Duration::from_millis(100));
    while let Some(batch) = batches.next_events().await {
        for event in &batch {
            both.at(event).update(event.key(), |sum| *sum += 1000 * event.value());
        }
    }
    Ok(())
}

#[window_close(table = "both")]
async fn both_closed(
    key: String,
    window: Window,
    sum: i64,
    #[topic("closed")] out: Topic<String, (i64, i64)>,
) -> Result<()> {
    out.send(&key, &(window.start().0 - base().0, sum)).await?;
    Ok(())
}

#[test]
fn a_window_closes_once_every_agent_of_its_input_has_passed_it() {
    let app = App::new("windows").only::<in_front>().agent::<behind>().hook::<both_closed>();
    let mut chaos = Chaos::new(app, 1, "memory://");
    for time in [0, 10, 20, 30] {
        chaos.apply(&Step::Send(vec![Input { key: 0, value: 1, time }], None));
    }
    // Windows close only after the second agent's batches, with the contributions of both agents.
    let closed: Vec<_> =
        chaos.driver.read::<String, (i64, i64)>("closed").unwrap().into_iter().map(|(_, c)| c).collect();
    assert_eq!(closed, [(0, 1001), (10, 1001), (20, 1001)]);
}
