//! Topics at the start of a worker: missing ones are created or awaited, existing ones are checked and not changed.

use std::sync::Mutex;
use std::time::Duration;

use faust::prelude::*;

use crate::harness::{Cluster, LONG, Message, wait_for};

#[agent(topic = "to-new")]
async fn new(numbers: Stream<i64>, #[topic("to-new-out", partitions = 2)] out: Topic<i64, i64>) -> Result<()> {
    let mut numbers = numbers.group_by("half", |n| n / 2);
    while let Some(number) = numbers.next().await {
        out.send(&number, &number).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_topics_are_created_with_the_declared_partitions() {
    let cluster = Cluster::start().await;
    cluster.delete("to-new").await;
    cluster.delete("to-new-out").await;
    let group = cluster.id("to-new");
    let worker = cluster.run(cluster.app("to-new").only::<new>().setting("topic_partitions", "3")).await;
    let internal = format!("{group}-new-half-repartition");
    let expected = [("to-new", 3), ("to-new-out", 2), (&internal, 3), (&format!("{group}-dead-letter"), 3)];
    for (topic, partitions) in expected {
        assert_eq!(cluster.partitions(topic).await, Some(partitions), "{topic}");
    }
    cluster.produce("to-new", [Message::of("4")]).await;
    assert_eq!(cluster.read_count("to-new-out", 1).await[0].key_text(), "4");
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mismatched_topics_are_reported_together_and_not_changed() {
    let cluster = Cluster::start().await;
    let group = cluster.id("to-misfit");
    let internal = format!("{group}-new-half-repartition");
    for (topic, partitions) in [("to-misfit", 4), ("to-misfit-out", 5), (&*internal, 2)] {
        cluster.create(topic, partitions).await;
    }
    let app = cluster.app("to-misfit").only::<misfit>().agent_with::<misfit>(|a| a.name("new")).build().unwrap();
    let error = app.start().await.unwrap_err();
    let faust::Error::Setup(faults) = &error else { panic!("{error:?}") };
    let expected = [
        format!("topic `{internal}` has 2 partitions, but `to-misfit` has 4; once `{internal}` is empty, delete it: it is then recreated with 4"),
        "topic `to-misfit-out` has 5 partitions, but it is declared with 2; change the declaration, or recreate the topic".to_owned(),
    ];
    assert_eq!(faults.faults(), expected);
    for (topic, partitions) in [("to-misfit", 4), ("to-misfit-out", 5), (&*internal, 2)] {
        assert_eq!(cluster.partitions(topic).await, Some(partitions), "{topic}");
    }
}

#[agent(topic = "to-misfit")]
async fn misfit(numbers: Stream<i64>, #[topic("to-misfit-out", partitions = 2)] out: Topic<i64, i64>) -> Result<()> {
    let mut numbers = numbers.group_by("half", |n| n / 2);
    while let Some(number) = numbers.next().await {
        out.send(&number, &number).await?;
    }
    Ok(())
}

#[agent(topic = "to-late", sink = "to-late-out")]
async fn late(number: i64) -> i64 {
    number + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_waits_for_a_topic_that_it_may_not_create() {
    let cluster = Cluster::start().await;
    cluster.delete("to-late").await;
    cluster.create("to-late-out", 1).await;
    cluster.create(&format!("{}-dead-letter", cluster.id("to-late")), 1).await;
    let app = cluster.app("to-late").only::<late>().setting("topic_allow_declare", "false").build().unwrap();
    let starting = tokio::spawn(async move { app.start().await });
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!starting.is_finished(), "the worker must wait for the topic");
    assert_eq!(cluster.partitions("to-late").await, None);
    cluster.create("to-late", 2).await;
    let worker = tokio::time::timeout(LONG, starting).await.expect("the worker starts").unwrap().unwrap();
    cluster.produce("to-late", [Message::of("41")]).await;
    assert_eq!(cluster.read_count("to-late-out", 1).await[0].text(), "42");
    worker.stop().await.unwrap();
}

#[agent(topic = "to-latest", sink = "to-latest-out")]
async fn latest(number: i64) -> i64 {
    number
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_commit_a_group_follows_the_offset_reset_setting() {
    let cluster = Cluster::start().await;
    cluster.create("to-latest", 1).await;
    cluster.create("to-latest-out", 1).await;
    cluster.produce("to-latest", [Message::of("1"), Message::of("2")]).await;
    let app = || cluster.app("to-latest").only::<latest>().setting("consumer_auto_offset_reset", "latest");
    let worker = cluster.run(app()).await;
    cluster.produce("to-latest", [Message::of("3")]).await;
    cluster.wait_done(&cluster.id("to-latest"), "to-latest", 3).await;
    worker.stop().await.unwrap();
    // At the second start there is a committed offset, so the setting does not apply.
    cluster.produce("to-latest", [Message::of("4")]).await;
    let worker = cluster.run(app()).await;
    cluster.wait_done(&cluster.id("to-latest"), "to-latest", 4).await;
    worker.stop().await.unwrap();
    assert_eq!(cluster.texts("to-latest-out").await, ["3", "4"]);
}

static OF_REPLACED: Mutex<Vec<(&str, i64)>> = Mutex::new(Vec::new());

#[agent(topic = "to-replaced")]
async fn first_reader(mut numbers: Stream<i64>) {
    while let Some(number) = numbers.next().await {
        OF_REPLACED.lock().unwrap().push(("first", number));
    }
}

#[agent(topic = "to-replaced")]
async fn second_reader(mut numbers: Stream<i64>) {
    while let Some(number) = numbers.next().await {
        OF_REPLACED.lock().unwrap().push(("second", number));
    }
}

/// Law: a topic that is deleted and created again under a running worker is read from its beginning, by each agent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_created_again_under_a_running_worker_is_read_from_its_beginning() {
    let cluster = Cluster::start().await;
    let topic = "to-replaced";
    cluster.create(topic, 1).await;
    let app = cluster.app(topic).only::<first_reader>().agent::<second_reader>();
    let worker = cluster.run(app).await;
    cluster.produce(topic, (0..5).map(|n| Message::of(n.to_string()))).await;
    cluster.wait_done(&cluster.id(topic), topic, 5).await;
    cluster.delete(topic).await;
    cluster.declare(topic, 1).await;
    cluster.produce(topic, (10..13).map(|n| Message::of(n.to_string()))).await;
    let seen = |agent: &str| -> Vec<i64> {
        let seen = OF_REPLACED.lock().unwrap();
        seen.iter().filter(|(name, _)| *name == agent).map(|(_, number)| *number).collect()
    };
    let expected: Vec<_> = (0..5).chain(10..13).collect();
    wait_for("the new messages", LONG, async || seen("first") == expected && seen("second") == expected).await;
    cluster.wait_done(&cluster.id(topic), topic, 3).await;
    worker.stop().await.unwrap();
}
