//! Sources that change: messages that were deleted before they were read, and partitions that are added.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use faust::prelude::*;
use faust::{AppBuilder, Offset};
use tokio::sync::Semaphore;
use tracing_subscriber::util::SubscriberInitExt;

use crate::harness::{Cluster, LONG, Message, wait_for};

/// Adds up the values of each key.
#[agent(topic = "in-added")]
async fn add(mut values: Stream<i64, String>, #[table(partition_by_source)] sums: Table<String, i64>) {
    while let Some(value) = values.next_event().await {
        sums.update(value.key(), |sum| *sum += value.value());
    }
}

fn adding(cluster: &Cluster, topic: &'static str) -> AppBuilder {
    cluster.app(topic).only::<add>().agent_with::<add>(|agent| agent.topic(topic))
}

/// Messages of one partition, each with the number as its key.
fn numbered(partition: i32, range: std::ops::Range<i64>) -> impl Iterator<Item = Message> {
    range.map(move |n| Message::of("1").key(format!("p{partition}-{n}")).to(partition))
}

fn keys(partition: i32, range: std::ops::Range<i64>) -> impl Iterator<Item = (String, i64)> {
    range.map(move |n| (format!("p{partition}-{n}"), 1))
}

/// Captures the log of this thread in a file while the guard lives.
fn captured(cluster: &Cluster) -> (impl Sized, PathBuf) {
    let path = cluster.dir("log").join("log");
    let file = Arc::new(File::create(&path).unwrap());
    (tracing_subscriber::fmt().with_ansi(false).with_writer(file).set_default(), path)
}

/// Returns the warnings about deleted messages in a captured log.
fn deletions(log: &Path) -> Vec<String> {
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("assigned: "), "the log was not captured");
    log.lines().filter(|line| line.contains("WARN") && line.contains("were deleted")).map(str::to_owned).collect()
}

/// Runs on one thread, because the log of this thread only is captured.
#[tokio::test]
async fn a_worker_that_was_away_continues_at_the_log_start_and_reports_what_it_missed() {
    let cluster = Cluster::start().await;
    let (topic, group) = ("in-away", cluster.id("in-away"));
    cluster.create(topic, 2).await;
    let worker = cluster.run(adding(&cluster, topic)).await;
    cluster.produce(topic, numbered(0, 0..10).chain(numbered(1, 0..10))).await;
    cluster.wait_done(&group, topic, 20).await;
    assert_eq!(worker.status().counts.deleted_unread, 0);
    worker.stop().await.unwrap();

    // While no worker runs, messages arrive, and retention deletes some of them in one partition. In the other one, it deletes
    // only what was read.
    cluster.produce(topic, numbered(0, 10..30).chain(numbered(1, 10..30))).await;
    cluster.delete_records_of(topic, 0, Offset(25)).await;
    cluster.delete_records_of(topic, 1, Offset(10)).await;
    let (listening, log) = captured(&cluster);
    let worker = cluster.run(adding(&cluster, topic)).await;
    cluster.wait_done(&group, topic, 60).await;
    assert_eq!(worker.status().counts.deleted_unread, 15);
    let sums = worker.table::<String, i64>("sums").unwrap();
    let expected: BTreeMap<_, _> = keys(0, 0..10).chain(keys(0, 25..30)).chain(keys(1, 0..30)).collect();
    assert_eq!(sums.iter().unwrap().collect::<BTreeMap<_, _>>(), expected);
    worker.stop().await.unwrap();
    drop(listening);
    let warnings = deletions(&log);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("the messages of in-away[0] from offset 10 to 25 were deleted"), "{warnings:?}");
    assert!(warnings[0].contains("continues at offset 25"), "{warnings:?}");

    // All that is left is deleted: there is no message at which the worker could notice it.
    cluster.produce(topic, numbered(0, 30..35)).await;
    cluster.delete_records_of(topic, 0, Offset(35)).await;
    let worker = cluster.run(adding(&cluster, topic)).await;
    cluster.wait_done(&group, topic, 65).await;
    assert_eq!(worker.status().counts.deleted_unread, 5);
    worker.stop().await.unwrap();
}

static GATE: Semaphore = Semaphore::const_new(0);

/// Processes as many events as it is allowed to.
#[agent(topic = "in-slow")]
async fn wait(mut texts: Stream<String>, #[topic("in-slow-out")] out: Topic<RawKey, i64>) -> Result<()> {
    while let Some(event) = texts.next_event().await {
        GATE.acquire().await.expect("it is never closed").forget();
        out.send(&RawKey::NONE, &event.offset().0).await?;
    }
    Ok(())
}

/// Runs on one thread, because the log of this thread only is captured.
#[tokio::test]
async fn a_slow_worker_that_retention_passes_continues_at_the_log_start_and_reports_what_it_missed() {
    const TOTAL: usize = 300;
    let cluster = Cluster::start().await;
    let topic = "in-slow";
    cluster.create(topic, 1).await;
    cluster.create("in-slow-out", 1).await;
    let (listening, log) = captured(&cluster);
    // The worker fetches a few messages in advance, not all of them.
    let few = [("kafka.queued.min.messages", "1"), ("kafka.fetch.message.max.bytes", "20000")];
    let app = cluster.app("in-slow").only::<wait>().setting("stream_buffer_maxsize", 4);
    let app = few.into_iter().fold(app, |app, (name, value)| app.setting(name, value));
    let worker = cluster.run(app).await;
    let text = format!("\"{}\"", "x".repeat(10_000));
    for _ in 0..TOTAL {
        // Each in a batch of its own, because a broker sends whole batches.
        cluster.produce(topic, [Message::of(text.clone())]).await;
    }
    wait_for("the first events", LONG, async || worker.status().counts.events > 0).await;
    cluster.delete_records_of(topic, 0, Offset(280)).await;
    GATE.add_permits(TOTAL);
    cluster.wait_done(&cluster.id("in-slow"), topic, TOTAL).await;
    let missed = usize::try_from(worker.status().counts.deleted_unread).unwrap();
    worker.stop().await.unwrap();
    drop(listening);
    assert!(missed > 100, "the worker had fetched so much that it missed only {missed}: the test proves nothing");
    let read: Vec<i64> = cluster.texts("in-slow-out").await.iter().map(|text| text.parse().unwrap()).collect();
    let first = i64::try_from(280 - missed).unwrap();
    assert_eq!(read, (0..first).chain(280..300).collect::<Vec<_>>(), "all that was not missed");
    let warnings = deletions(&log);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let range = format!("the messages of in-slow[0] from offset {first} to 280 were deleted");
    assert!(warnings[0].contains(&range) && warnings[0].contains("continues at offset 280"), "{warnings:?}");
}

/// Copies values with the partition that they came from.
#[agent(topic = "in-grown")]
async fn copy(mut numbers: Stream<i64>, #[topic("in-grown-out")] out: Topic<RawKey, String>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        out.send(&RawKey::NONE, &format!("{}:{}", event.partition(), event.value())).await?;
    }
    Ok(())
}

/// With a table, the worker stops; see `tables::adding_partitions_to_a_source_stops_the_worker`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_added_are_read_from_their_beginning_while_workers_run() {
    let cluster = Cluster::start().await;
    let (topic, group) = ("in-grown", cluster.id("in-grown"));
    cluster.create(topic, 2).await;
    cluster.create("in-grown-out", 1).await;
    // The consumer discovers new partitions when it refreshes its metadata.
    let app = |name: &str| {
        let app = cluster.app("in-grown").only::<copy>().setting("datadir", cluster.dir(name).display());
        app.setting("kafka.topic.metadata.refresh.interval.ms", "500")
    };
    let workers = [cluster.run(app("first")).await, cluster.run(app("second")).await];
    let numbers = |numbers: std::ops::Range<i32>, partitions: i32| {
        numbers.map(move |n| Message::of(n.to_string()).to(n % partitions))
    };
    cluster.produce(topic, numbers(0..100, 2)).await;
    cluster.wait_done(&group, topic, 100).await;
    cluster.grow(topic, 6).await;
    // Before the workers know of the partitions. The client from before does not know them either.
    let cluster = Cluster::at(cluster.bootstrap()).await;
    cluster.produce(topic, numbers(100..700, 6)).await;
    cluster.wait_done(&group, topic, 700).await;
    cluster.produce(topic, numbers(700..1_300, 6)).await;
    cluster.wait_done(&group, topic, 1_300).await;
    let assigned = || workers.iter().map(|worker| worker.status().assignment.len()).sum::<usize>();
    wait_for("the assignment of six partitions", LONG, async || assigned() == 6).await;
    for worker in workers {
        worker.stop().await.unwrap();
    }
    let expected = (0..1_300).map(|n| format!("{}:{n}", n % if n < 100 { 2 } else { 6 }));
    let out = cluster.texts("in-grown-out").await;
    // The client joins the group again when it learns of the partitions. If it is assigned others without a revocation, events
    // may repeat, because what was not committed by then is lost.
    assert_eq!(out.iter().cloned().collect::<BTreeSet<_>>(), expected.collect::<BTreeSet<_>>());
    // A worker that starts now knows the new count.
    let last = cluster.run(app("first")).await;
    wait_for("all partitions", LONG, async || last.status().assignment.len() == 6).await;
    last.stop().await.unwrap();
}

/// Groups numbers by themselves.
#[agent(topic = "in-followed")]
async fn regroup(numbers: Stream<i64>, #[topic("in-followed-out")] out: Topic<RawKey, i64>) -> Result<()> {
    let mut numbers = numbers.group_by("number", |number| *number);
    while let Some(number) = numbers.next().await {
        out.send(&RawKey::NONE, &number).await?;
    }
    Ok(())
}

/// The topic of the `group_by` would have too few partitions at the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_added_to_the_source_of_a_group_by_stop_the_worker() {
    let cluster = Cluster::start().await;
    cluster.create("in-followed", 2).await;
    cluster.create("in-followed-out", 1).await;
    let app = cluster.app("in-followed").only::<regroup>();
    let worker = cluster.run(app.setting("kafka.topic.metadata.refresh.interval.ms", "500")).await;
    cluster.grow("in-followed", 3).await;
    let ended = tokio::time::timeout(LONG, worker.wait()).await.expect("the worker stops");
    let why = ended.expect_err("the worker fails").to_string();
    assert!(why.contains("topic `in-followed` has 3 partitions now, but had 2"), "{why}");
}
