//! Values and keys of tables after a restart: each is read back as it was written, or is refused by the event that
//! wrote it.

use std::collections::BTreeMap;
use std::time::Duration;

use faust::aggregate::{Max, Min};
use faust::prelude::*;
use faust::testing::{TestDriver, WorkerId};
use proptest::prelude::*;

/// The stores that a restart reads the tables from.
const STORES: [&str; 3] = ["memory://", "sled://", "fjall://"];

/// A record with a rule, which is checked when it is read.
#[record]
#[derive(Default)]
struct Gauge {
    #[field(range = 0..=100)]
    level: i64,
}

/// A record whose content serde buffers because of the tag, and which has integer keys.
#[record]
#[serde(tag = "kind")]
enum Tally {
    None,
    Votes { votes: BTreeMap<u32, u32> },
}

/// A record that serde alone reads and writes.
#[record]
#[derive(Default)]
struct Seen {
    by: Option<String>,
    at: Vec<f64>,
}

/// A write to one of the tables.
#[record]
enum Write {
    Name(Option<String>),
    Blob(Option<Vec<u8>>),
    Number(Option<i64>),
    Highest(Option<f64>),
    Lowest(Option<f64>),
    Infinite,
    InfiniteInWindow,
    NotANumber,
    Gauge(i64),
    Vote(Option<u32>),
    Nested(bool),
    Seen(Option<String>, Option<f64>),
    Keyed(Option<String>, i64),
    Paired(u8),
    Remove,
}

#[agent(topic = "writes")]
#[allow(clippy::too_many_arguments, reason = "one table for each kind of value")]
async fn keep(
    mut writes: Stream<Write, String>,
    names: Table<String, Option<String>>,
    blobs: Table<String, Option<Vec<u8>>>,
    numbers: Table<String, Option<i64>>,
    highest: Table<String, Max<f64>>,
    #[table(window = tumbling("1h"), expires = "1000d")] lowest: WindowedTable<String, Min<f64>>,
    floats: Table<String, f64>,
    gauges: Table<String, Gauge>,
    tallies: Table<String, Tally>,
    nested: Table<String, Option<Option<u8>>>,
    seen: Table<String, Seen>,
    keyed: Table<Option<String>, i64>,
    paired: Table<(Option<f64>, u8), u64>,
) -> Result<()> {
    while let Some(event) = writes.next_event().await {
        let key = event.key();
        match event.value().clone() {
            Write::Name(name) => names.set(key, name),
            Write::Blob(blob) => drop(blobs.insert(key, blob)),
            Write::Number(number) => numbers.update(key, |kept| *kept = number),
            Write::Highest(value) => {
                highest.update(key, |highest| value.into_iter().for_each(|value| highest.add(value)))
            }
            Write::Lowest(value) => {
                lowest.update(key, |lowest| value.into_iter().for_each(|value| lowest.add(value)));
            }
            Write::Infinite => highest.update(key, |highest| highest.add(f64::INFINITY)),
            Write::InfiniteInWindow => lowest.update(key, |lowest| lowest.add(f64::NEG_INFINITY)),
            Write::NotANumber => *floats.entry(key).or_insert(1.0) = f64::NAN,
            Write::Gauge(level) => gauges.update(key, |gauge| gauge.level = level),
            Write::Vote(None) => tallies.set(key, Tally::None),
            Write::Vote(Some(vote)) => tallies.set(key, Tally::Votes { votes: BTreeMap::from([(vote, 1)]) }),
            Write::Nested(inner) => nested.set(key, if inner { Some(None) } else { None }),
            Write::Seen(by, at) => seen.update(key, |seen| {
                seen.by = by;
                seen.at.push(at.unwrap_or(f64::NAN));
            }),
            Write::Keyed(name, number) => keyed.set(&name, number),
            Write::Paired(number) => {
                let read = paired.update(&(Some(f64::NAN), number), |value| *value + 1);
                assert_eq!((read, paired.len()), (1, 0), "the default is read, and nothing is written");
            }
            Write::Remove => {
                names.remove(key);
                numbers.remove(key);
                gauges.remove(key);
            }
        }
    }
    Ok(())
}

struct Scene {
    driver: TestDriver,
    worker: WorkerId,
    _directory: tempfile::TempDir,
}

impl Scene {
    fn new(store: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let app = App::new("values").only::<keep>().setting("topic_partitions", 1).setting("store", store);
        let app = app
            .setting("datadir", directory.path().display().to_string())
            .setting("agent_failure", "stop")
            .setting("agent_max_attempts", 2);
        let mut driver = TestDriver::new(app).unwrap();
        let worker = driver.start_worker().unwrap();
        Self { driver, worker, _directory: directory }
    }

    fn send(&mut self, key: &str, write: Write) {
        self.driver.send("writes", &key.to_owned(), &write).unwrap();
        self.driver.run_until_idle();
    }

    fn restart(&mut self, loses_disk: bool) {
        self.driver.commit();
        self.driver.crash(self.worker);
        if loses_disk {
            self.driver.lose_disk(self.worker).unwrap();
        }
        self.driver.advance(Duration::from_secs(60));
        self.worker = self.driver.start_worker().unwrap();
        self.driver.run_until_idle();
    }

    /// Writes a record to a changelog that counts, because it has the header of the last one.
    fn overwrite<V: faust::Data>(&mut self, table: &str, key: &str, value: &V) {
        let changelog = format!("values-{table}-changelog");
        let last = self.driver.messages(&changelog).unwrap().pop();
        let headers = last.map(|message| message.headers).unwrap_or_default();
        let commit = headers.get_str("faust-commit").unwrap_or_default().to_owned();
        let options = |message: faust::SendOptions| message.header("faust-commit", commit);
        self.driver.send_with(&changelog, &key.to_owned(), value, options).unwrap();
    }

    /// Lets another program write to changelogs while the worker is down, and starts the worker twice: the first start
    /// takes the values from the changelogs to the stores, and the second one loads them from there.
    fn restart_with(&mut self, write: impl FnOnce(&mut Self)) {
        self.driver.commit();
        self.driver.crash(self.worker);
        write(self);
        self.driver.advance(Duration::from_secs(60));
        self.worker = self.driver.start_worker().unwrap();
        self.driver.run_until_idle();
        self.restart(false);
    }

    /// Returns the error that a write ends the worker with.
    fn refusal(&mut self, key: &str, write: Write) -> String {
        self.send(key, write);
        self.driver.advance(Duration::from_secs(10));
        match self.driver.ended(self.worker) {
            Some(Err(error)) => error.to_string(),
            other => panic!("the worker has not failed: {other:?}"),
        }
    }

    fn all<V: faust::TableValue>(&self, table: &str) -> BTreeMap<String, V> {
        self.driver.table::<String, V>(table).unwrap().iter().collect()
    }
}

/// The contents of the tables that accept every value.
#[derive(Clone, Debug, Default, PartialEq)]
struct Contents {
    names: BTreeMap<String, Option<String>>,
    blobs: BTreeMap<String, Option<Vec<u8>>>,
    numbers: BTreeMap<String, Option<i64>>,
    highest: BTreeMap<String, Option<f64>>,
    lowest: BTreeMap<String, Option<f64>>,
    seen: BTreeMap<String, Seen>,
    keyed: BTreeMap<Option<String>, i64>,
}

impl Contents {
    fn of(scene: &Scene) -> Self {
        let lowest = scene.driver.windowed_table::<String, Min<f64>>("lowest").unwrap();
        Self {
            names: scene.all("names"),
            blobs: scene.all("blobs"),
            numbers: scene.all("numbers"),
            highest: scene
                .all::<Max<f64>>("highest")
                .into_iter()
                .map(|(key, high)| (key, high.value().copied()))
                .collect(),
            lowest: lowest.iter().map(|(key, _, low)| (key, low.value().copied())).collect(),
            seen: scene.all("seen"),
            keyed: scene.driver.table::<Option<String>, i64>("keyed").unwrap().iter().collect(),
        }
    }

    fn apply(&mut self, key: &str, write: Write) {
        let key = key.to_owned();
        match write {
            Write::Name(name) => drop(self.names.insert(key, name)),
            Write::Blob(blob) => drop(self.blobs.insert(key, blob)),
            Write::Number(number) => drop(self.numbers.insert(key, number)),
            Write::Highest(value) => {
                let high = self.highest.entry(key).or_default();
                *high = value.into_iter().chain(*high).reduce(f64::max);
            }
            Write::Lowest(value) => {
                let low = self.lowest.entry(key).or_default();
                *low = value.into_iter().chain(*low).reduce(f64::min);
            }
            Write::Seen(by, at) => {
                let seen = self.seen.entry(key).or_default();
                seen.by = by;
                seen.at.extend(at);
            }
            Write::Keyed(name, number) => drop(self.keyed.insert(name, number)),
            Write::Remove => {
                self.names.remove(&key);
                self.numbers.remove(&key);
            }
            other => panic!("{other:?} is not part of the histories"),
        }
    }
}

fn write() -> impl Strategy<Value = Write> {
    let text = || prop::option::of(prop::sample::select(vec!["", "a", "null", "\u{fffd}"]).prop_map(str::to_owned));
    let float = || prop::option::of(-1e9..1e9);
    let bytes = prop::collection::vec(prop::sample::select(vec![0xFF, 0, b'"']), 0..3);
    prop_oneof![
        text().prop_map(Write::Name),
        prop::option::of(bytes).prop_map(Write::Blob),
        any::<Option<i64>>().prop_map(Write::Number),
        float().prop_map(Write::Highest),
        float().prop_map(Write::Lowest),
        (text(), -1e9..1e9).prop_map(|(by, at)| Write::Seen(by, Some(at))),
        (text(), any::<i64>()).prop_map(|(key, number)| Write::Keyed(key, number)),
        Just(Write::Remove),
    ]
}

/// Returns the number of cases, from `FAUST_TEST_CASES` as in the other suites.
fn cases() -> u32 {
    std::env::var("FAUST_TEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Law: after a crash, with and without the disk, tables hold what was written, `None` and empty values included.
    #[test]
    fn what_is_written_is_read_back(
        store in prop::sample::select(&STORES),
        histories in prop::collection::vec(
            (prop::collection::vec((prop::sample::select(vec!["a", "b", ""]), write()), 0..8), any::<bool>()), 1..4
        ),
    ) {
        let mut scene = Scene::new(store);
        let mut expected = Contents::default();
        for (writes, loses_disk) in histories {
            for (key, write) in writes {
                expected.apply(key, write.clone());
                scene.send(key, write);
            }
            prop_assert_eq!(Contents::of(&scene), expected.clone(), "before the crash");
            scene.restart(loses_disk);
            prop_assert_eq!(Contents::of(&scene), expected.clone(), "{} after the crash, disk lost: {}", store, loses_disk);
        }
    }
}

/// Law: a write that could not be read back fails its event with table, key and reason, and leaves no trace.
#[test]
fn a_write_that_cannot_be_read_back_is_refused() {
    for (write, table, reason) in [
        (Write::Infinite, "highest", "JSON has no NaN and no infinity"),
        (Write::InfiniteInWindow, "lowest", "JSON has no NaN and no infinity"),
        (Write::NotANumber, "floats", "JSON has no NaN and no infinity"),
        (Write::Gauge(101), "gauges", "level: must be in 0..=100, got 101"),
        (Write::Vote(Some(7)), "tallies", "expected u32"),
        (Write::Nested(true), "nested", "`Some(None)`"),
        (Write::Seen(None, None), "seen", "JSON has no NaN and no infinity"),
    ] {
        for store in STORES {
            let mut scene = Scene::new(store);
            let error = scene.refusal("a", write.clone());
            assert!(error.contains(&format!("table `{table}` refuses the value of key \"a\"")), "{store}: {error}");
            let place = "agent `keep` failed 2 times at writes[0] offset 0";
            assert!(error.contains(reason) && error.contains(place), "{store}: {error}");
            let changelog = format!("values-{table}-changelog");
            assert_eq!(scene.driver.messages(&changelog).unwrap().len(), 0, "{store}: {table}");
        }
    }
}

/// Law: so does a key, of which no value is read or written.
#[test]
fn a_key_that_cannot_be_read_back_is_refused() {
    for store in STORES {
        let error = Scene::new(store).refusal("a", Write::Paired(7));
        let expected = "table `paired` refuses key [null,7] of type `(Option<f64>, u8)`: it could not";
        assert!(error.contains(expected), "{store}: {error}");
    }
}

#[test]
fn values_beside_the_refused_ones_are_accepted() {
    for store in STORES {
        let mut scene = Scene::new(store);
        for write in [Write::Gauge(100), Write::Vote(None), Write::Nested(false), Write::Highest(None)] {
            scene.send("a", write);
        }
        for loses_disk in [false, true] {
            scene.restart(loses_disk);
            assert_eq!(scene.all("gauges"), BTreeMap::from([("a".to_owned(), Gauge { level: 100 })]), "{store}");
            assert_eq!(scene.all("tallies"), BTreeMap::from([("a".to_owned(), Tally::None)]), "{store}");
            assert_eq!(scene.all("nested"), BTreeMap::from([("a".to_owned(), None::<Option<u8>>)]), "{store}");
        }
    }
}

/// A value that no release can read, written by another program, does not keep its key from being set or removed.
#[test]
fn an_unreadable_value_can_be_replaced_and_removed() {
    for store in STORES {
        let mut scene = Scene::new(store);
        let old = || Write::Name(Some("old".to_owned()));
        for (key, write) in [("a", old()), ("b", old()), ("b", Write::Number(Some(1))), ("a", Write::Gauge(1))] {
            scene.send(key, write);
        }
        // The records of a version of the program that wrote other bytes.
        scene.restart_with(|scene| {
            for (table, key) in [("names", "a"), ("names", "b"), ("numbers", "b")] {
                scene.overwrite(table, key, &vec![0xC3, 0x28]);
            }
            scene.overwrite("gauges", "a", &BTreeMap::<String, i64>::new());
        });
        scene.send("a", Write::Name(Some("new".to_owned())));
        scene.send("b", Write::Remove);
        let left = BTreeMap::from([("a".to_owned(), Some("new".to_owned()))]);
        for loses_disk in [false, true] {
            scene.restart(loses_disk);
            assert_eq!(scene.all::<Option<String>>("names"), left, "{store}");
            assert_eq!(scene.all::<Option<i64>>("numbers"), BTreeMap::new(), "{store}");
        }
        let error = scene.refusal("a", Write::Gauge(2));
        let expected = ["the value of key \"a\" cannot be decoded", "level: missing field", "`#[field(default)]`"];
        assert!(expected.iter().all(|text| error.contains(text)), "{store}: {error}");
    }
}
