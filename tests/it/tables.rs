//! Tables and their topics: unequal or changing partition counts, several agents, external readers, misplaced keys.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use faust::prelude::*;
use faust::{AppBuilder, Worker};
use tracing_subscriber::util::SubscriberInitExt;

use crate::harness::{Cluster, LONG, Message, wait_for};

/// Adds up the values of each key.
#[agent(topic = "tables")]
async fn add(mut values: Stream<i64, String>, sums: Table<String, i64>) {
    while let Some(value) = values.next_event().await {
        sums.update(value.key(), |sum| *sum += value.value());
    }
}

/// Updates a table of its own, and that of `add`.
#[agent(topic = "tables")]
async fn double(mut values: Stream<i64, String>, sums: Table<String, i64>, doubles: Table<String, i64>) {
    while let Some(value) = values.next_event().await {
        doubles.update(value.key(), |sum| *sum += 2 * value.value());
        sums.update(value.key(), |sum| *sum += 100);
    }
}

/// Adds like `add`, but accepts the partitions that the producer has chosen for the keys.
#[agent(topic = "tables")]
async fn add_placed(mut values: Stream<i64, String>, #[table(partition_by_source)] placed: Table<String, i64>) {
    while let Some(value) = values.next_event().await {
        placed.update(value.key(), |sum| *sum += value.value());
    }
}

fn adding(cluster: &Cluster, id: &str, topics: &[&str]) -> AppBuilder {
    let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
    let app = cluster.app(id).only::<add>();
    app.agent_with::<add>(|agent| agent.topics(topics))
}

async fn feed(cluster: &Cluster, id: &str, topic: &str, pairs: &[(&str, i64)]) {
    let messages = pairs.iter().map(|(key, value)| Message::of(value.to_string()).key(*key));
    cluster.produce(topic, messages).await;
    cluster.wait_done(&cluster.id(id), topic, pairs.len()).await;
}

async fn ends_with(worker: &Worker) -> String {
    let ended = tokio::time::timeout(LONG, worker.wait()).await.expect("the worker stops");
    ended.expect_err("the worker fails").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adding_partitions_to_a_source_stops_the_worker() {
    let cluster = Cluster::start().await;
    cluster.create("ta-grown", 2).await;
    // The consumer discovers new partitions when it refreshes its metadata.
    let app = adding(&cluster, "ta-grown", &["ta-grown"]).setting("kafka.topic.metadata.refresh.interval.ms", "500");
    let worker = cluster.run(app).await;
    feed(&cluster, "ta-grown", "ta-grown", &[("a", 1)]).await;
    cluster.grow("ta-grown", 3).await;
    let why = ends_with(&worker).await;
    for part in
        ["topic `ta-grown` has 3 partitions now, but had 2 when the worker started", "raise the app's `version`"]
    {
        assert!(why.contains(part), "`{part}` is not in: {why}");
    }
    drop(worker);
    // A worker that starts now finds a changelog with too few partitions.
    let why = adding(&cluster, "ta-grown", &["ta-grown"]).build().unwrap().start().await.unwrap_err().to_string();
    let changelog = format!("topic `{}-sums-changelog` has 2 partitions", cluster.id("ta-grown"));
    assert!(why.contains(&changelog) && why.contains("`ta-grown` has 3"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_with_different_partition_counts_cannot_share_a_table() {
    let cluster = Cluster::start().await;
    cluster.create("ta-two", 2).await;
    cluster.create("ta-three", 3).await;
    let app = adding(&cluster, "ta-counts", &["ta-two", "ta-three"]).build().unwrap();
    let why = app.start().await.unwrap_err().to_string();
    for part in ["table `sums`", "`ta-two` has 2", "`ta-three` has 3", "create them with the same count", "`group_by`"]
    {
        assert!(why.contains(part), "`{part}` is not in: {why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_share_a_table_that_can_be_read_from_outside() {
    let cluster = Cluster::start().await;
    cluster.create("ta-shared", 3).await;
    let app = adding(&cluster, "ta-shared", &["ta-shared"]).agent_with::<double>(|agent| agent.topic("ta-shared"));
    let worker = cluster.run(app).await;
    let pairs = [("a", 1), ("b", 2), ("c", 3), ("a", 4), ("d", 5)];
    feed(&cluster, "ta-shared", "ta-shared", &pairs).await;
    let sums = worker.table::<String, i64>("sums").unwrap();
    let doubles = worker.table::<String, i64>("doubles").unwrap();
    assert_eq!(sums.partitions(), [0, 1, 2]);
    for (key, sum, double) in [("a", 205, 10), ("b", 102, 4), ("c", 103, 6), ("d", 105, 10)] {
        let key = key.to_owned();
        assert_eq!((sums.find(&key).unwrap(), doubles.find(&key).unwrap()), (Some(sum), Some(double)), "{key}");
    }
    assert_eq!(sums.find(&"z".to_owned()).unwrap(), None);
    let all: BTreeMap<_, _> = sums.iter().unwrap().collect();
    assert_eq!(all.into_values().collect::<Vec<_>>(), [205, 102, 103, 105]);

    // The wrong types or an unknown name are an error.
    let error = worker.table::<String, u8>("sums").unwrap_err().to_string();
    assert!(error.contains("values `i64`, not `alloc::string::String` and `u8`"), "{error}");
    let error = worker.table::<String, i64>("some").unwrap_err().to_string();
    assert!(error.contains("`doubles`, `sums`"), "{error}");

    // A key is found only by the worker that is assigned its partition.
    let second = cluster.app("ta-shared").setting("datadir", cluster.dir("second").display());
    let second = second.only::<add>().agent_with::<add>(|agent| agent.topic("ta-shared"));
    let second = second.agent_with::<double>(|agent| agent.topic("ta-shared"));
    let second = cluster.run(second).await;
    let others = second.table::<String, i64>("sums").unwrap();
    wait_for("tables on both workers", LONG, async || {
        let (first, second) = (sums.partitions().len(), others.partitions().len());
        second > 0 && first + second == 3
    })
    .await;
    let keys = ["a", "b", "c", "d"].map(str::to_owned);
    for key in &keys {
        let here = [sums.find(key), others.find(key)].into_iter().flatten().count();
        assert_eq!(here, 1, "workers that find {key}");
    }
    second.stop().await.unwrap();
    worker.stop().await.unwrap();
}

/// Runs on one thread, because the log of this thread only is captured.
#[tokio::test]
async fn misplaced_keys_are_logged_once_and_counted_unless_partitioned_by_source() {
    let cluster = Cluster::start().await;
    cluster.create("ta-placed", 4).await;
    // Each key is in all four partitions, and misplaced in three of them.
    let messages = (0..20).flat_map(|n| (0..4).map(move |p| Message::of("1").key(format!("k{n}")).to(p)));
    cluster.produce("ta-placed", messages).await;
    let of = |agent: faust::AgentOptions| agent.topic("ta-placed");
    for (id, app, misplaced) in [
        ("ta-misplaced", cluster.app("ta-misplaced").only::<add>().agent_with::<add>(of), 60),
        ("ta-by-source", cluster.app("ta-by-source").only::<add_placed>().agent_with::<add_placed>(of), 0),
    ] {
        let path = cluster.dir(id).join("log");
        let file = Arc::new(File::create(&path).unwrap());
        let listening = tracing_subscriber::fmt().with_ansi(false).with_writer(file).set_default();
        let worker = cluster.run(app).await;
        cluster.wait_done(&cluster.id(id), "ta-placed", 80).await;
        assert_eq!(worker.status().counts.misplaced_keys, misplaced, "{id}");
        worker.stop().await.unwrap();
        drop(listening);
        let log = std::fs::read_to_string(path).unwrap();
        let warned = log
            .lines()
            .filter(|line| line.contains("WARN") && line.contains("(book: Keys in the right partition)"))
            .count();
        assert!(log.contains("assigned: "), "{id}: the log was not captured");
        assert_eq!(warned, usize::from(misplaced > 0), "{id}:\n{log}");
    }
}
