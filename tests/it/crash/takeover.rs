//! `kill -9` of one of two workers: the other one takes its partitions over from standbys.
//!
//! With `FAUST_TEST_KEYS=1000000`, it measures a takeover of a large table; see CONTRIBUTING.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::broker::Broker;
use super::role::{Membership, Process, WorkerRole};
use super::scenario::{self, PARTITIONS, VERY_LONG};
use super::work::Work;
use crate::harness::{Cluster, LONG, Message, wait_for};

fn keys() -> u64 {
    scenario::keys(20_000)
}

/// An app whose table has many keys, on two workers.
struct Pair {
    id: String,
    input: String,
    store: &'static str,
    replicas: u32,
    cluster: Cluster,
    broker: Broker,
    dir: TempDir,
    workers: u32,
    /// Number of events fed so far, and the expected contents of the table.
    fed: u64,
    expected: BTreeMap<String, u64>,
}

/// The figures of a takeover.
#[derive(Debug)]
struct Takeover {
    /// Time from the assignment to the first event of the last partition that was taken over.
    took: Duration,
    /// Records that were restored.
    records: i64,
    /// Partitions of the table that were taken over from a standby.
    from_standbys: usize,
}

impl std::fmt::Display for Takeover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { took, records, from_standbys } = self;
        write!(f, "{took:.2?} to the first event, {records} records restored, {from_standbys} partitions from standbys")
    }
}

impl Pair {
    async fn begin(store: &'static str, replicas: u32) -> Self {
        let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
        let id = format!("takeover-{replicas}-{}-{run}", store.trim_end_matches("://"));
        let broker = Broker::given_or_embedded().await;
        let cluster = Cluster::at(broker.bootstrap()).await;
        let input = format!("{id}.values");
        cluster.declare(&input, i32::try_from(PARTITIONS).unwrap()).await;
        let dir = tempfile::tempdir().unwrap();
        Self { id, input, store, replicas, cluster, broker, dir, workers: 0, fed: 0, expected: BTreeMap::new() }
    }

    fn worker(&mut self) -> Process {
        self.workers += 1;
        let role = WorkerRole {
            work: Work::Tally,
            id: &self.id,
            input: &self.input,
            bootstrap: self.broker.bootstrap(),
            membership: Membership::Dynamic,
            store: Some(self.store),
        };
        let replicas = self.replicas.to_string();
        let variables = [("FAUST_TEST_REPLICAS", &*replicas), ("FAUST_TEST_STATE_MEMORY", "128MiB")];
        Process::worker(self.dir.path(), &format!("worker-{}", self.workers), &role, &variables)
    }

    /// Adds 1 to each of these keys.
    async fn feed(&mut self, numbers: std::ops::Range<u64>) {
        let key = |n| format!("key-{n:010}");
        self.cluster.produce(&self.input, numbers.clone().map(|n| Message::of("1").key(key(n)))).await;
        self.fed += numbers.end - numbers.start;
        numbers.for_each(|n| *self.expected.entry(key(n)).or_insert(0) += 1);
    }

    async fn done(&self) -> u64 {
        u64::try_from(self.cluster.done(&self.id, &self.input).await).unwrap()
    }

    async fn await_done(&self) {
        wait_for("everything to be committed", VERY_LONG, async || self.done().await >= self.fed).await;
    }

    /// Kills one of two workers while it has changes that are not committed, and waits until the other one has processed all.
    async fn take_over(mut self) -> Takeover {
        let mut survivor = self.worker();
        wait_for("the first worker", LONG, async || survivor.is_ready()).await;
        let mut victim = self.worker();
        wait_for("the second worker", LONG, async || victim.is_ready()).await;
        self.feed(0..keys()).await;
        self.await_done().await;
        if self.replicas > 0 {
            // The commits are looked up every second, so an earlier lag may not know the last ones.
            let committed = Instant::now();
            wait_for("the standbys to be complete", VERY_LONG, async || {
                survivor.lag() == Some(0) && committed.elapsed() > Duration::from_secs(3)
            })
            .await;
        }
        self.feed(0..keys() / 50).await;
        victim.kill();
        self.feed(0..keys() / 50).await;
        let all = usize::try_from(PARTITIONS).unwrap();
        wait_for("the takeover", VERY_LONG, async || {
            survivor.assert_alive();
            assignments(&survivor.log()).last().is_some_and(|(_, partitions)| partitions.len() == all)
        })
        .await;
        self.await_done().await;
        survivor.interrupt().await;
        let found: BTreeMap<_, _> = survivor.table().into_iter().collect();
        let wrong: Vec<_> = self.expected.iter().filter(|(key, count)| found.get(*key) != Some(count)).collect();
        assert!(wrong.is_empty(), "{} of {} keys are wrong, first {:?}", wrong.len(), found.len(), wrong[0]);
        assert_eq!(found.len(), self.expected.len(), "keys that were never fed");
        figures(&survivor.log())
    }
}

/// Returns the time of a log line in microseconds of its day: `2026-01-01T12:34:56.789012Z  INFO ..`.
fn time(line: &str) -> Option<u64> {
    let (clock, _) = line.split_once('T')?.1.split_once('Z')?;
    let (clock, micros) = clock.split_once('.')?;
    let seconds = clock.split(':').try_fold(0, |sum, part| Some(sum * 60 + part.parse::<u64>().ok()?))?;
    Some(seconds * 1_000_000 + micros.parse::<u64>().ok()?)
}

/// Returns the times of the assignments, each with the partitions of the input.
fn assignments(log: &str) -> Vec<(u64, BTreeSet<i32>)> {
    let assigned = |line: &str| {
        let (_, rest) = line.split_once("assigned: ")?;
        let partitions = rest.split_once('[').map_or("", |(_, list)| list.split(']').next().unwrap_or_default());
        Some((time(line)?, partitions.split(',').filter_map(|number| number.parse().ok()).collect()))
    };
    log.lines().filter_map(assigned).collect()
}

fn number(line: &str, behind: &str) -> Option<i64> {
    line.split_once(behind)?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn figures(log: &str) -> Takeover {
    let all = usize::try_from(PARTITIONS).unwrap();
    let assignments = assignments(log);
    let (at, last) = assignments.iter().rfind(|(_, partitions)| partitions.len() == all).unwrap();
    // Before the other worker came, this one had all partitions as well.
    let before =
        assignments.iter().rev().find(|(at_time, parts)| at_time < at && !parts.is_empty() && parts.len() < all);
    let gained: BTreeSet<_> = last.difference(&before.unwrap().1).copied().collect();
    let later = |line: &&str| time(line).is_some_and(|time| time >= *at);
    let mut firsts = BTreeMap::new();
    for line in log.lines().filter(later).filter(|line| line.contains("the next event of a partition")) {
        let partition = i32::try_from(number(line, "partition=").unwrap()).unwrap();
        firsts.entry(partition).or_insert_with(|| time(line).unwrap());
    }
    let of_gained = gained.iter().map(|partition| firsts.get(partition).expect("its events were processed"));
    let took = Duration::from_micros(of_gained.max().unwrap() - at);
    let restored = log.lines().filter(later).filter(|line| line.contains("records of its changelog"));
    let records = restored.filter_map(|line| number(line, "restored ")).sum();
    let from_standbys = log.lines().filter(later).filter(|line| line.contains("taken over from this worker's standby"));
    Takeover { took, records, from_standbys: from_standbys.count() }
}

/// Law: a takeover from standbys restores only what was not committed, or had just been; without them, it reads everything.
async fn takeovers(store: &'static str) {
    let with = Pair::begin(store, 1).await.take_over().await;
    let without = Pair::begin(store, 0).await.take_over().await;
    eprintln!("{store} {} keys, with standbys: {with}", keys());
    eprintln!("{store} {} keys, without: {without}", keys());
    let half = usize::try_from(PARTITIONS / 2).unwrap();
    assert_eq!((with.from_standbys, without.from_standbys), (half, 0));
    let keys = i64::try_from(keys()).unwrap();
    assert!(without.records >= keys / 4, "without a standby, the changelog is read: {without:?}");
    // What was fed last, twice: before the kill and after it.
    assert!(with.records <= keys / 20, "with a standby, next to nothing is restored: {with:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_is_taken_over_from_standbys_in_sled() {
    takeovers("sled://").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_is_taken_over_from_standbys_in_fjall() {
    takeovers("fjall://").await;
}
