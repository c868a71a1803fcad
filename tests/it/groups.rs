//! Several workers of one app: they share its partitions, and rebalances neither lose nor repeat events.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use faust::Worker;
use faust::prelude::*;

use crate::harness::{Cluster, LONG, Message, wait_for};

static SHARED: Mutex<Vec<(i32, i64)>> = Mutex::new(Vec::new());

/// Sleeps in every tenth event, so that partitions are revoked while an event is in progress.
#[agent(topic = "gr-shared")]
async fn note(mut numbers: Stream<i64>, #[topic("gr-shared-out")] out: Topic<RawKey, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        if event.offset().0 % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        SHARED.lock().unwrap().push((event.partition(), event.offset().0));
        out.send_with(event.key(), event.value(), |m| m.partition(event.partition())).await?;
    }
    Ok(())
}

/// Waits until all partitions are assigned, to each of the workers the same number.
async fn shared_out(workers: &[&Worker], partitions: usize) {
    wait_for("the partitions to be shared", LONG, async || {
        let counts: Vec<_> = workers.iter().map(|worker| worker.status().assignment.len()).collect();
        counts.iter().sum::<usize>() == partitions && counts.iter().all(|count| *count == partitions / workers.len())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_joins_and_leaves_under_load_and_nothing_is_lost_repeated_or_out_of_order() {
    let cluster = Cluster::start().await;
    cluster.create("gr-shared", 8).await;
    cluster.create("gr-shared-out", 8).await;
    let producer = cluster.producer("gr-shared");
    let total: i32 = 16_000;
    let feed = async {
        // 4 000 messages per second.
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        for first in (0..total).step_by(200) {
            tick.tick().await;
            producer.send_all((first..first + 200).map(|n| Message::of(n.to_string()).to(n % 8))).await;
        }
    };
    let app = |name: &str| cluster.app("gr-shared").setting("datadir", cluster.dir(name).display()).only::<note>();
    let workers = async {
        let first = cluster.run(app("first")).await;
        shared_out(&[&first], 8).await;
        let second = cluster.run(app("second")).await;
        shared_out(&[&first, &second], 8).await;
        second.stop().await.unwrap();
        shared_out(&[&first], 8).await;
        let third = cluster.run(app("third")).await;
        shared_out(&[&first, &third], 8).await;
        // Stops the worker that joined first.
        first.stop().await.unwrap();
        shared_out(&[&third], 8).await;
        third
    };
    let (last, ()) = tokio::join!(workers, feed);
    cluster.wait_done(&cluster.id("gr-shared"), "gr-shared", usize::try_from(total).unwrap()).await;
    last.stop().await.unwrap();
    let mut partitions: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for (partition, offset) in SHARED.lock().unwrap().iter() {
        partitions.entry(*partition).or_default().push(*offset);
    }
    assert_eq!(partitions.len(), 8);
    for (partition, offsets) in partitions {
        assert_eq!(offsets, (0..2_000).collect::<Vec<_>>(), "partition {partition}");
    }
    for partition in 0..8 {
        let out = cluster.read("gr-shared-out").await.into_iter().filter(|m| m.partition == Some(partition));
        let values: Vec<i32> = out.map(|m| m.text().parse().unwrap()).collect();
        assert_eq!(values, (0..total).filter(|n| n % 8 == partition).collect::<Vec<_>>(), "partition {partition}");
    }
}

#[agent(topic = "gr-hop")]
async fn hop(words: Stream<String>, #[topic("gr-hop-out")] out: Topic<String, String>) -> Result<()> {
    let mut words = words.group_by("word", |word| word.clone());
    while let Some(word) = words.next().await {
        out.send(&word, &word).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_share_both_stages_of_a_group_by() {
    let cluster = Cluster::start().await;
    cluster.create("gr-hop", 4).await;
    cluster.create("gr-hop-out", 1).await;
    let app = |name: &str| cluster.app("gr-hop").setting("datadir", cluster.dir(name).display()).only::<hop>();
    let first = cluster.run(app("first")).await;
    let second = cluster.run(app("second")).await;
    shared_out(&[&first, &second], 8).await;
    let words = (0..1_000).map(|n| format!("w{}", n % 50));
    cluster.produce("gr-hop", words.clone().zip(0..).map(|(word, n)| Message::of(word).to(n % 4))).await;
    let mut out: Vec<_> = cluster.read_count("gr-hop-out", 1_000).await.iter().map(Message::text).collect();
    first.stop().await.unwrap();
    second.stop().await.unwrap();
    let mut words: Vec<_> = words.collect();
    out.sort();
    words.sort();
    assert_eq!(out, words);
    // Both workers are assigned partitions of both stages, so both must have processed events.
    assert!(first.status().counts.events > 0 && second.status().counts.events > 0);
}

#[agent(topic = "gr-spare")]
async fn spare(_number: i64) {}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_without_partitions_is_ready_and_takes_over() {
    let cluster = Cluster::start().await;
    cluster.create("gr-spare", 1).await;
    let app = |name: &str| cluster.app("gr-spare").setting("datadir", cluster.dir(name).display()).only::<spare>();
    let first = cluster.run(app("first")).await;
    let second = cluster.run(app("second")).await;
    wait_for("one owner", LONG, async || {
        first.status().assignment.len() + second.status().assignment.len() == 1
            && first.status().ready
            && second.status().ready
    })
    .await;
    first.stop().await.unwrap();
    wait_for("the assignment of the second worker", LONG, async || second.status().assignment.len() == 1).await;
    cluster.produce("gr-spare", [Message::of("1")]).await;
    cluster.wait_done(&cluster.id("gr-spare"), "gr-spare", 1).await;
    second.stop().await.unwrap();
}

/// Sums its numbers. Its version 2 reads a second topic.
#[agent(topic = "gr-mixed-a")]
async fn summing(mut numbers: Stream<i64, String>, #[table(name = "mixed")] sums: Table<String, i64>) {
    while let Some(event) = numbers.next_event().await {
        sums.update(event.key(), |sum| *sum += event.value());
    }
}

fn ones(partition: i32) -> impl Iterator<Item = Message> {
    (0..6).map(move |_| Message::of("1").key(format!("p{partition}")).to(partition))
}

/// Law: in a rolling upgrade to a version that reads more topics, no partition of a table has two owners.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_two_versions_do_not_share_a_table() {
    let cluster = Cluster::start().await;
    let topics = ["gr-mixed-a", "gr-mixed-b"];
    for topic in topics {
        cluster.create(topic, 2).await;
    }
    let app = |name: &str| cluster.app("gr-mixed").setting("datadir", cluster.dir(name).display());
    let old = cluster.run(app("old").only::<summing>()).await;
    let summing_both = app("new").only::<summing>().agent_with::<summing>(|agent| agent.topics(topics));
    cluster.produce(topics[0], [0, 1].into_iter().flat_map(ones)).await;
    cluster.wait_done(&cluster.id("gr-mixed"), topics[0], 12).await;
    let new = cluster.run(summing_both).await;
    // The new version has a partition of each topic, but the first topic is shared with the old one.
    wait_for("both versions in the group", LONG, async || {
        old.status().assignment.len() == 1 && new.status().assignment.len() == 3
    })
    .await;
    wait_for("the report", LONG, async || !new.status().waiting.is_empty()).await;
    let waiting = new.status().waiting;
    // Which partition that is depends on the members' ids.
    let one_of_two = [0, 1].map(|n| vec![format!("gr-mixed-b[{n}] of a set with gr-mixed-a[{n}]")]);
    assert!(one_of_two.contains(&waiting), "{waiting:?}");
    assert!(!new.status().ready);
    for topic in topics {
        cluster.produce(topic, [0, 1].into_iter().flat_map(ones)).await;
    }
    // All of the first topic is processed, and of the second one the partition that is whole.
    cluster.wait_done(&cluster.id("gr-mixed"), topics[0], 24).await;
    cluster.wait_done(&cluster.id("gr-mixed"), topics[1], 6).await;
    old.stop().await.unwrap();
    cluster.wait_done(&cluster.id("gr-mixed"), topics[1], 12).await;
    wait_for("the new version to be ready", LONG, async || new.status().ready).await;
    let sums = new.table::<String, i64>("mixed").unwrap();
    let all: BTreeMap<_, _> = sums.iter().unwrap().collect();
    assert_eq!(all, BTreeMap::from([("p0".to_owned(), 18), ("p1".to_owned(), 18)]));
    new.stop().await.unwrap();
}

#[agent(topic = "gr-rival-a")]
async fn pool_of_a(mut numbers: Stream<i64, String>, #[table(name = "pool")] sums: Table<String, i64>) {
    while let Some(event) = numbers.next_event().await {
        sums.update(event.key(), |sum| *sum += event.value());
    }
}

#[agent(topic = "gr-rival-b")]
async fn pool_of_b(mut numbers: Stream<i64, String>, #[table(name = "pool")] sums: Table<String, i64>) {
    while let Some(event) = numbers.next_event().await {
        sums.update(event.key(), |sum| *sum += event.value());
    }
}

/// Law: of two programs with one app id and one table, which read different topics, the second does not run: Kafka gives each
/// all partitions of its own topic, so that each partition of the table would have two owners.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_programs_do_not_share_a_table() {
    let cluster = Cluster::start().await;
    for topic in ["gr-rival-a", "gr-rival-b"] {
        cluster.create(topic, 2).await;
    }
    cluster.produce("gr-rival-b", [0, 1].into_iter().flat_map(ones)).await;
    let app = |name: &str| {
        let app = cluster.app("gr-rival").setting("datadir", cluster.dir(name).display());
        app.setting("worker_name", name)
    };
    let first = cluster.run(app("one").only::<pool_of_a>()).await;
    let second = app("two").only::<pool_of_b>().build().unwrap().start().await.unwrap();
    let error = second.wait().await.unwrap_err().to_string();
    for part in ["table `pool`", "worker `one` has it from other topics (gr-rival-a)", "an id of its own"] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
    assert_eq!(second.status().counts.events, 0);
    // The program that was refused leaves nothing behind that would keep a worker of the other one from its start.
    let another = cluster.run(app("three").only::<pool_of_a>()).await;
    another.stop().await.unwrap();
    first.stop().await.unwrap();
    let second = cluster.run(app("two").only::<pool_of_b>()).await;
    cluster.wait_done(&cluster.id("gr-rival"), "gr-rival-b", 12).await;
    second.stop().await.unwrap();
}

/// Law: two workers do not run under one name: the one that has started later goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_ends_if_another_starts_under_its_name() {
    let cluster = Cluster::start().await;
    cluster.create("gr-rival-a", 1).await;
    let app = |dir: &str| {
        let app = cluster.app("gr-name").setting("datadir", cluster.dir(dir).display());
        app.setting("worker_name", "pod-0").only::<pool_of_a>()
    };
    let first = cluster.run(app("one")).await;
    let second = cluster.run(app("two")).await;
    let error = first.wait().await.unwrap_err().to_string();
    assert!(error.contains("under the name `pod-0`") && error.contains("`worker_name`"), "{error}");
    // The worker that has ended has not removed the entry of its successor.
    let control = cluster.read(&format!("{}-control", cluster.id("gr-name"))).await;
    assert!(control.iter().rfind(|entry| entry.key_text() == "worker/pod-0").unwrap().value.is_some());
    second.stop().await.unwrap();
    // A worker that starts again under its name is no other.
    cluster.run(app("two")).await.stop().await.unwrap();
}
