//! Restores from changelogs in various states: each yields a correct table, or an error that names the problem.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, mpsc};

use faust::prelude::*;
use faust::{AppBuilder, Offset, RestoreListener, RestoreProgress, Worker, WorkerOptions};
use tokio::sync::mpsc as tasks;

use crate::harness::{Cluster, End, LONG, Message, wait_for};

/// Adds up the values of each key.
#[agent(topic = "changelogs")]
async fn add(mut values: Stream<i64, String>, sums: Table<String, i64>) {
    while let Some(value) = values.next_event().await {
        sums.update(value.key(), |sum| *sum += value.value());
    }
}

/// An app with a table of one partition, and its changelog.
struct Case {
    cluster: Cluster,
    id: String,
    topic: String,
    changelog: String,
    store: &'static str,
    fed: usize,
}

/// A store that keeps nothing: the table is restored from its changelog alone.
const NO_STORE: &str = "memory://";
const STORE: &str = "sled://";

impl Case {
    async fn begin(name: &str, store: &'static str) -> Self {
        let cluster = Cluster::start().await;
        let id = format!("{name}-{}", store.trim_end_matches("://"));
        let topic = format!("changelogs.{id}");
        cluster.create(&topic, 1).await;
        let changelog = format!("{}-sums-changelog", cluster.id(&id));
        Self { cluster, id, topic, changelog, store, fed: 0 }
    }

    fn app(&self) -> AppBuilder {
        let topic = self.topic.clone();
        self.cluster
            .app(&self.id)
            .only::<add>()
            .agent_with::<add>(|agent| agent.topic(topic))
            .setting("store", self.store)
    }

    /// Starts a worker and waits until its table is restored.
    async fn work(&self) -> Worker {
        let worker = self.cluster.run(self.app()).await;
        let table = worker.table::<String, i64>("sums").unwrap();
        wait_for("the restored table", LONG, async || table.partitions() == [0]).await;
        worker
    }

    /// Produces events for a running worker, and waits for the commit of each.
    async fn feed(&mut self, pairs: &[(&str, i64)]) {
        for (key, value) in pairs {
            self.cluster.produce(&self.topic, [Message::of(value.to_string()).key(*key)]).await;
            self.fed += 1;
            self.cluster.wait_done(&self.cluster.id(&self.id), &self.topic, self.fed).await;
        }
    }

    /// Runs a worker that processes these events, and stops it.
    async fn past(&mut self, pairs: &[(&str, i64)]) {
        let worker = self.work().await;
        self.feed(pairs).await;
        worker.stop().await.unwrap();
    }

    /// Asserts that a new worker restores this table and continues from it.
    async fn expect(&mut self, expected: &[(&str, i64)]) {
        let worker = self.work().await;
        let mut expected: BTreeMap<_, _> = expected.iter().map(|(key, sum)| ((*key).to_owned(), *sum)).collect();
        assert_eq!(sums(&worker), expected, "restored");
        self.feed(&[("more", 1)]).await;
        *expected.entry("more".to_owned()).or_insert(0) += 1;
        assert_eq!(sums(&worker), expected, "after one more event");
        worker.stop().await.unwrap();
    }

    /// Asserts that a new worker stops with an error that contains these texts and a remedy.
    async fn expect_error(&self, words: &[&str]) {
        let worker = self.app().build().unwrap().start().await.unwrap();
        assert_ends(&worker, words).await;
    }

    /// Deletes the changelog and creates an empty one.
    async fn replace_changelog(&self) {
        self.cluster.delete(&self.changelog).await;
        self.cluster.create_with(&self.changelog, 1, &[("cleanup.policy", "compact")]).await;
    }

    async fn end(&self) -> Offset {
        self.cluster.watermarks(&self.changelog).await.into_values().next().unwrap().1
    }
}

fn sums(worker: &Worker) -> BTreeMap<String, i64> {
    worker.table::<String, i64>("sums").unwrap().iter().unwrap().collect()
}

async fn assert_ends(worker: &Worker, words: &[&str]) {
    let ended = tokio::time::timeout(LONG, worker.wait()).await.expect("the worker must stop");
    let why = ended.expect_err("the worker must not accept the table").to_string();
    for word in words.iter().chain(&["table `sums`, partition 0", "reset"]) {
        assert!(why.contains(word), "`{word}` is not in: {why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_changelog_restores_an_empty_table() {
    for store in [NO_STORE, STORE] {
        let mut case = Case::begin("empty", store).await;
        case.past(&[]).await;
        assert_eq!(case.end().await, Offset(0));
        case.expect(&[]).await;
    }
}

/// Records of other producers do not count: they do not belong to a commit of the app, which writes its own values again. A
/// restore also ends behind transaction markers and aborted records, which consumers do not receive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changelog_may_end_with_transactions_of_other_producers() {
    for (name, last) in [("committed", End::Commit), ("aborted", End::Abort)] {
        for store in [NO_STORE, STORE] {
            let mut case = Case::begin(name, store).await;
            if !case.cluster.is_real() {
                return; // The embedded broker does not support transactions yet.
            }
            case.past(&[("a", 1), ("b", 2)]).await;
            let end = case.end().await;
            let others = |key: &str| vec![Message::of("40").key(key)];
            for (key, end) in [("c", End::Commit), ("x", End::Abort), ("a", last)] {
                case.cluster.transaction(&case.changelog, others(key), end).await;
            }
            // The broker writes the marker of a transaction after it has answered.
            wait_for("three records, each with a marker", LONG, async || case.end().await.since(end) == 6).await;
            case.expect(&[("a", 1), ("b", 2)]).await;
        }
    }
}

/// Compaction has removed overwritten records and tombstones. The last record is followed by gaps and by records that
/// consumers do not receive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_keeps_all_current_values() {
    for store in [NO_STORE, STORE] {
        let mut case = Case::begin("compacted", store).await;
        let configs = [
            ("cleanup.policy", "compact"),
            ("segment.ms", "500"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("min.compaction.lag.ms", "0"),
            ("delete.retention.ms", "0"),
        ];
        case.cluster.create_with(&case.changelog, 1, &configs).await;
        case.past(&[("a", 1), ("b", 2), ("a", 3), ("a", 4), ("b", 5)]).await;
        // A segment is closed only when a record is appended after `segment.ms`.
        wait_for("compaction", LONG, async || {
            case.cluster.produce(&case.changelog, [Message::tombstone("x")]).await;
            let keys: Vec<_> = case.cluster.read(&case.changelog).await.iter().map(Message::key_text).collect();
            keys.iter().filter(|key| *key != "x").eq(["a", "b"])
        })
        .await;
        if case.cluster.is_real() {
            // The embedded broker does not support transactions yet.
            case.cluster.transaction(&case.changelog, vec![Message::of("0").key("x")], End::Abort).await;
        }
        case.expect(&[("a", 8), ("b", 7)]).await;
    }
}

/// A store that has all of the deleted records is continued. Without a store, their absence is reported.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_records_are_an_error_unless_the_store_has_them() {
    for all in [false, true] {
        let name = if all { "deleted-all" } else { "deleted-some" };
        let mut case = Case::begin(name, STORE).await;
        case.past(&[("a", 1), ("b", 2), ("c", 3)]).await;
        let before = if all { case.end().await } else { Offset(2) };
        case.cluster.delete_records(&case.changelog, 0, before).await;
        case.expect(&[("a", 1), ("b", 2), ("c", 3)]).await;

        let mut case = Case::begin(name, NO_STORE).await;
        case.past(&[("a", 1), ("b", 2), ("c", 3)]).await;
        let before = if all { case.end().await } else { Offset(2) };
        case.cluster.delete_records(&case.changelog, 0, before).await;
        case.expect_error(&[&format!("begins at offset {before}"), "records before it were deleted"]).await;
    }
}

/// Records were written and deleted while the app did not use the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_records_that_the_store_never_had_are_an_error() {
    let mut case = Case::begin("behind", STORE).await;
    case.past(&[("a", 1)]).await;
    case.store = NO_STORE;
    case.past(&[("b", 2), ("c", 3)]).await;
    case.store = STORE;
    case.cluster.delete_records(&case.changelog, 0, Offset(2)).await;
    case.expect_error(&["up to offset 1, but that begins at 2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recreated_changelog_is_detected() {
    for store in [NO_STORE, STORE] {
        let mut case = Case::begin("another", store).await;
        case.past(&[("a", 1), ("b", 2)]).await;
        case.replace_changelog().await;
        case.expect_error(&["the last commit covers its changelog", "but it ends at 0"]).await;
        if store == STORE {
            // The new changelog is long enough, but the store was not written from it.
            case.cluster.produce(&case.changelog, ["a", "b", "x"].map(|key| Message::of("1").key(key))).await;
            case.expect_error(&["was deleted and created again"]).await;
        }
    }
}

/// The worker creates a deleted changelog again, and detects that it is too short.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_changelog_is_detected() {
    for store in [NO_STORE, STORE] {
        let mut case = Case::begin("gone", store).await;
        case.past(&[("a", 1), ("b", 2)]).await;
        case.cluster.delete(&case.changelog).await;
        case.expect_error(&["the last commit covers its changelog", "but it ends at 0"]).await;
    }
}

/// The changelog is deleted and recreated while the worker runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacing_the_changelog_of_a_running_worker_stops_it() {
    for store in [NO_STORE, STORE] {
        let mut case = Case::begin("replaced", store).await;
        let worker = case.work().await;
        case.feed(&[("a", 1), ("b", 2), ("a", 3)]).await;
        case.replace_changelog().await;
        case.cluster.produce(&case.topic, [Message::of("1").key("a")]).await;
        assert_ends(&worker, &["was at offset"]).await;
    }
}

/// Keeps the last text of each key.
#[agent(topic = "changelogs")]
async fn keep(mut texts: Stream<String, String>, sums: Table<String, String>) {
    while let Some(text) = texts.next_event().await {
        sums.set(text.key(), text.value().clone());
    }
}

/// A listener that blocks a restore at its start until the test lets it continue.
struct Held {
    begun: tasks::UnboundedSender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl RestoreListener for Held {
    fn started(&self, _: &RestoreProgress) {
        self.begun.send(()).unwrap();
        self.go_on.lock().unwrap().recv().unwrap();
    }
}

/// Records are deleted beyond those that have been fetched already.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn records_that_are_deleted_during_a_restore_are_an_error() {
    let mut case = Case::begin("while-read", NO_STORE).await;
    let topic = case.topic.clone();
    let app = case.cluster.app(&case.id).only::<keep>().agent_with::<keep>(|agent| agent.topic(topic));
    let app = app.setting("store", NO_STORE).setting("fetch_memory", "1MiB").build().unwrap();
    let worker = app.start().await.unwrap();
    let text = format!("{:?}", "x".repeat(100_000));
    let keys = (0..60).map(|key| Message::of(&*text).key(format!("k{key}")));
    case.cluster.produce(&case.topic, keys).await;
    case.fed = 60;
    case.cluster.wait_done(&case.cluster.id(&case.id), &case.topic, case.fed).await;
    worker.stop().await.unwrap();

    let (begun, mut has_begun) = tasks::unbounded_channel();
    let (go_on, goes_on) = mpsc::channel();
    let held = Arc::new(Held { begun, go_on: Mutex::new(goes_on) });
    let worker = app.start_with(WorkerOptions::default().restore_listener(held)).await.unwrap();
    has_begun.recv().await.unwrap();
    case.cluster.delete_records(&case.changelog, 0, Offset(59)).await;
    go_on.send(()).unwrap();
    assert_ends(&worker, &["was truncated while it was read"]).await;
}

/// Reads another topic, without a table.
#[agent]
async fn pass(mut values: Stream<i64, String>) {
    while values.next().await.is_some() {}
}

/// Law: a changelog's records are compared with the commits of their own table only. The agents of two topics become one agent
/// of both: the other topic's commits have higher numbers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_not_compared_with_the_commit_of_another_topic() {
    let cluster = Cluster::start().await;
    let (one, two) = ("changelogs.joined-1", "changelogs.joined-2");
    cluster.create(one, 1).await;
    cluster.create(two, 1).await;
    let id = cluster.id("changelogs-joined");
    let app = || cluster.app("changelogs-joined").setting("store", NO_STORE).only::<add>();
    let first = app().agent_with::<add>(|agent| agent.topic(one)).agent_with::<pass>(|agent| agent.topic(two));
    let worker = cluster.run(first).await;
    let value = |value: i64| Message::of(value.to_string()).key("k");
    cluster.produce(one, [value(4)]).await;
    cluster.wait_done(&id, one, 1).await;
    for round in 1..=20 {
        cluster.produce(two, [value(1)]).await;
        cluster.wait_done(&id, two, round).await;
    }
    worker.stop().await.unwrap();

    // A record of the same owner that was written, but not committed.
    let changelog = format!("{id}-sums-changelog");
    let last = cluster.read(&changelog).await.pop().unwrap();
    let (commit, time) = last.header_text("faust-commit").unwrap().split_once(' ').unwrap();
    let (epoch, number) = commit.split_once('.').unwrap();
    let next = number.trim_end_matches('n').parse::<u64>().unwrap() + 1;
    assert!(next < 20, "the other topic has more commits");
    let uncommitted = Message::of("5").key("k").to(0).header("faust-commit", &format!("{epoch}.{next} {time}"));
    cluster.produce(&changelog, [uncommitted]).await;

    let both = app().agent_with::<add>(|agent| agent.topics([one, two]));
    let worker = cluster.run(both).await;
    let sums = worker.table::<String, i64>("sums").unwrap();
    // The value that counts, and what the agent adds from the other topic, where it continues behind its commit.
    wait_for("the restored table", LONG, async || sums.find("k").is_ok_and(|sum| sum == Some(4))).await;
    cluster.produce(two, [value(10)]).await;
    wait_for("the sum of both topics", LONG, async || sums.find("k").is_ok_and(|sum| sum == Some(14))).await;
    worker.stop().await.unwrap();
}
