//! Restores of a table: from its store after `kill -9`, and from its changelog if the store is missing, broken or
//! incomplete.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::broker::Broker;
use super::role::{Membership, Process, WorkerRole};
use super::scenario::{self, PARTITIONS, VERY_LONG};
use super::work::Work;
use crate::harness::{Cluster, Message, Random, wait_for};

fn keys() -> u64 {
    scenario::keys(50_000)
}

/// A worker's table, its store and its changelog.
struct Tale {
    id: String,
    input: String,
    store: &'static str,
    random: Random,
    cluster: Cluster,
    dir: TempDir,
    workers: u32,
    /// Number of values fed so far.
    fed: u64,
    /// The expected contents of the table.
    expected: BTreeMap<String, u64>,
    broker: Broker,
}

/// A worker's log line about the restore of one partition.
#[derive(Debug)]
struct Restored {
    partition: i32,
    records: i64,
    /// The offset that the store had reached; `None` if the whole changelog was read.
    from: Option<i64>,
}

impl Tale {
    async fn begin(store: &'static str) -> Self {
        let name = store.trim_end_matches("://");
        let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
        let id = format!("restore-{name}-{run}");
        let random = Random::new(&id);
        let broker = Broker::given_or_embedded().await;
        let cluster = Cluster::at(broker.bootstrap()).await;
        let input = format!("{id}.values");
        cluster.declare(&input, i32::try_from(PARTITIONS).unwrap()).await;
        let dir = tempfile::tempdir().unwrap();
        Self { id, input, store, random, cluster, dir, workers: 0, fed: 0, expected: BTreeMap::new(), broker }
    }

    /// Adds 1 to each key of the range, modulo the number of keys.
    async fn feed(&mut self, range: Range<u64>) {
        let (count, key) = (range.end - range.start, |n| format!("key-{:0100}", n % keys()));
        self.cluster.produce(&self.input, range.clone().map(|n| Message::of("1").key(key(n)))).await;
        for n in range {
            *self.expected.entry(key(n)).or_insert(0) += 1;
        }
        self.fed += count;
    }

    /// Feeds values until some of them are committed, and kills the worker at a random moment after that.
    async fn kill_while_fed(&mut self, worker: &mut Process) {
        let enough = self.done().await + keys() / 20;
        let mut at = 0;
        let mut end = None;
        while end.is_none_or(|end| Instant::now() < end) {
            self.feed(at..at + 500).await;
            at += 500;
            if end.is_none() && self.done().await >= enough {
                end = Some(Instant::now() + self.random.while_below(Duration::from_millis(700)));
            }
        }
        worker.assert_alive();
        worker.kill();
    }

    fn worker(&mut self) -> Process {
        self.workers += 1;
        let role = WorkerRole {
            work: Work::Tally,
            id: &self.id,
            input: &self.input,
            bootstrap: self.broker.bootstrap(),
            membership: Membership::Static,
            store: Some(self.store),
        };
        // The ends of transactions have offsets, too, which would have to be told from those of records.
        let guarantee = [("FAUST_TEST_GUARANTEE", "at_least_once")];
        Process::worker(self.dir.path(), &format!("worker-{}", self.workers), &role, &guarantee)
    }

    async fn done(&self) -> u64 {
        u64::try_from(self.cluster.done(&self.id, &self.input).await).unwrap()
    }

    async fn await_done(&self, count: u64) {
        wait_for(&format!("{count} commits"), VERY_LONG, async || self.done().await >= count).await;
    }

    /// Waits until all values are committed, interrupts the worker and compares its table.
    async fn finish(&self, mut worker: Process) -> Process {
        self.await_done(self.fed).await;
        worker.interrupt().await;
        let found: BTreeMap<_, _> = worker.table().into_iter().collect();
        let wrong: Vec<_> = self.expected.iter().filter(|(key, count)| found.get(*key) != Some(count)).collect();
        assert!(wrong.is_empty(), "{} of {} keys are wrong, first {:?}", wrong.len(), found.len(), wrong[0]);
        assert_eq!(found.len(), self.expected.len(), "keys that were never fed");
        worker
    }

    /// Waits until the worker has restored every partition, and returns its log lines about them.
    async fn restored(&self, worker: &mut Process) -> Vec<Restored> {
        wait_for("all partitions to be restored", VERY_LONG, async || {
            worker.assert_alive();
            restores(&worker.log()).len() == usize::try_from(PARTITIONS).unwrap()
        })
        .await;
        restores(&worker.log())
    }

    /// Starts workers and kills each of them when it has written to its store. Returns the number of workers that had
    /// not restored all partitions by then.
    async fn crash_loop(&mut self, kills: u32) -> u32 {
        let mut hits = 0;
        for _ in 0..kills {
            let mut worker = self.worker();
            wait_for("a write to the store, or a complete restore", VERY_LONG, async || {
                worker.has_stored() || restores(&worker.log()).len() == usize::try_from(PARTITIONS).unwrap()
            })
            .await;
            worker.kill();
            hits += u32::from(restores(&worker.log()).len() < usize::try_from(PARTITIONS).unwrap());
        }
        hits
    }

    /// Returns the log start offset and the high watermark of each partition of the changelog.
    async fn changelog(&self) -> BTreeMap<i32, (i64, i64)> {
        let marks = self.cluster.watermarks(&format!("{}-counts-changelog", self.id)).await;
        marks.into_iter().map(|(place, (low, high))| (place.partition, (low.0, high.0))).collect()
    }

    /// Returns the store's directory.
    fn state(&self) -> PathBuf {
        let database = self.store.trim_end_matches("://");
        self.dir.path().join("data/worker-1/state").join(database)
    }
}

/// Parses the log lines
/// `restored 17 records of its changelog from offset 4, where its store was, in 1ms table=.. partition=0 ..`
/// and `nothing to restore: the table is at offset 4, the end of its changelog ..`.
fn restores(log: &str) -> Vec<Restored> {
    let number = |text: &str| text.split(|c: char| !c.is_ascii_digit()).next()?.parse::<i64>().ok();
    let after = |line: &str, word: &str| line.split_once(word).and_then(|(_, rest)| number(rest));
    let restored = |line: &str| {
        let partition = i32::try_from(after(line, "partition=")?).ok()?;
        if let Some(at) = after(line, "nothing to restore: the table is at offset ") {
            return Some(Restored { partition, records: 0, from: Some(at) });
        }
        let records = after(line, "restored ").filter(|_| line.contains("records of its changelog"))?;
        Some(Restored { partition, records, from: after(line, "from offset ") })
    };
    log.lines().filter_map(restored).collect()
}

/// Asserts that the whole changelog was read.
fn assert_whole(restored: &[Restored], changelog: &BTreeMap<i32, (i64, i64)>) {
    for Restored { partition, records, from } in restored {
        let (low, high) = changelog[partition];
        assert_eq!((*records, *from), (high - low, None), "partition {partition} of {changelog:?}");
    }
}

async fn comes_back(store: &'static str) {
    let mut tale = Tale::begin(store).await;
    let first = tale.worker();
    tale.feed(0..keys()).await;
    tale.finish(first).await;

    // The store is complete, so no record is read again.
    let whole = tale.changelog().await;
    let mut worker = tale.worker();
    for Restored { partition, records, from } in tale.restored(&mut worker).await {
        assert_eq!((records, from), (0, Some(whole[&partition].1)), "after a graceful shutdown");
    }

    // After a kill during changes, the store has at least the changes of the last start, and only later records are
    // read.
    tale.kill_while_fed(&mut worker).await;
    let left = tale.changelog().await;
    let mut worker = tale.worker();
    let (mut replayed, mut outstanding) = (0, 0);
    for Restored { partition, records, from } in tale.restored(&mut worker).await {
        let (before, now) = (whole[&partition].1, left[&partition].1);
        let from = from.unwrap_or_else(|| panic!("partition {partition}: the store was not used"));
        assert!(from >= before, "partition {partition}: read from {from}, but the store had all up to {before}");
        assert_eq!(records, now - from, "partition {partition}: records missing in the store");
        replayed += records;
        outstanding += now - before;
    }
    assert!(outstanding > 0, "no record was written since the last start: the test proves nothing");
    eprintln!("{}: after a kill, {replayed} of {outstanding} records since the last start were read again", tale.id);
    tale.finish(worker).await;

    // Without its store, the worker reads the whole changelog exactly once.
    std::fs::remove_dir_all(tale.state()).unwrap();
    let mut worker = tale.worker();
    assert_whole(&tale.restored(&mut worker).await, &tale.changelog().await);
    tale.finish(worker).await;

    // A damaged store is set aside.
    spoil(&tale.state());
    let mut worker = tale.worker();
    assert_whole(&tale.restored(&mut worker).await, &tale.changelog().await);
    let aside = tale.state().with_file_name(format!("{}.broken-1", store.trim_end_matches("://")));
    assert!(aside.is_dir(), "the damaged store was not moved to {}:\n{}", aside.display(), worker.log());
    let worker = tale.finish(worker).await;
    assert!(worker.log().contains("stores_set_aside: 1"), "{}", worker.log());

    killed_while_restoring(&mut tale).await;
}

/// Overwrites every file of a database with garbage.
fn spoil(dir: &std::path::Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            spoil(&path);
        } else if std::fs::metadata(&path).unwrap().len() > 0 {
            std::fs::write(path, "this is not a database").unwrap();
        }
    }
}

/// Checks that a worker that was killed repeatedly during a restore resumes from the position of its store.
async fn killed_while_restoring(tale: &mut Tale) {
    std::fs::remove_dir_all(tale.state()).unwrap();
    let hits = tale.crash_loop(3).await;
    let changelog = tale.changelog().await;
    let mut worker = tale.worker();
    let mut kept = 0;
    for Restored { partition, records, from } in tale.restored(&mut worker).await {
        let (low, high) = changelog[&partition];
        kept += from.map_or(0, |from| from - low);
        assert_eq!(records, high - from.unwrap_or(low), "partition {partition}, after {hits} kills");
    }
    tale.finish(worker).await;
    eprintln!("{}: {hits} of 3 kills interrupted a restore, {kept} records were kept", tale.id);
    assert!(hits > 0, "no kill interrupted a restore: the test proves nothing");
    assert!(kept > 0, "records had been written to the store, but all of them were read again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_in_sled_is_restored() {
    comes_back("sled://").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_in_fjall_is_restored() {
    comes_back("fjall://").await;
}
