//! Unavailable brokers: the worker waits for them, loses no events, and uses little processor time and log space.

use std::time::{Duration, Instant};

use faust::prelude::*;

use crate::harness::{Cluster, LONG, Message, Process, Program, wait_for};

#[agent(topic = "aw-in")]
async fn pass(mut numbers: Stream<i64>, #[topic("aw-out")] out: Topic<RawKey, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        out.send_with(event.key(), event.value(), |m| m.partition(event.partition())).await?;
    }
    Ok(())
}

fn numbers(range: std::ops::Range<i32>) -> impl Iterator<Item = Message> {
    range.map(|n| Message::of(n.to_string()).to(n % 2))
}

async fn sorted(cluster: &Cluster) -> Vec<i32> {
    let mut numbers: Vec<i32> = cluster.texts("aw-out").await.iter().map(|n| n.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_a_worker_that_starts_without_a_broker_waits_for_it() {
    let mut cluster = Cluster::durable().await;
    cluster.create("aw-in", 2).await;
    cluster.create("aw-out", 2).await;
    cluster.produce("aw-in", numbers(0..100)).await;
    cluster.stop_broker();
    let app = cluster.app("aw-start").only::<pass>().build().unwrap();
    let starting = tokio::spawn(async move { app.start().await });
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!starting.is_finished(), "the worker must wait for the broker");
    cluster.start_broker();
    let worker = tokio::time::timeout(LONG, starting).await.expect("the worker starts").unwrap().unwrap();
    cluster.wait_done("aw-start", "aw-in", 100).await;
    worker.stop().await.unwrap();
    assert_eq!(sorted(&cluster).await, (0..100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_a_worker_resumes_after_a_broker_restart_and_loses_nothing() {
    let mut cluster = Cluster::durable().await;
    cluster.create("aw-in", 2).await;
    cluster.create("aw-out", 2).await;
    let worker = cluster.run(cluster.app("aw-middle").only::<pass>()).await;
    for round in 0..3 {
        cluster.produce("aw-in", numbers(round * 2_000..round * 2_000 + 2_000)).await;
        // Stops the broker while events are being processed, regardless of what has been committed.
        wait_for("some events", LONG, async || worker.status().counts.events > u64::try_from(round).unwrap() * 2_000)
            .await;
        cluster.stop_broker();
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.start_broker();
        cluster.wait_done("aw-middle", "aw-in", usize::try_from(round + 1).unwrap() * 2_000).await;
    }
    worker.stop().await.unwrap();
    // A restarted embedded broker does not know the group's members, so uncommitted events may be processed again.
    let mut out = sorted(&cluster).await;
    out.dedup();
    assert_eq!(out, (0..6_000).collect::<Vec<_>>());
}

/// Returns the processor time that the process has used, in seconds.
fn cpu(process: &Process) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap();
    // The name is in parentheses and may contain any text. User and system time are the 12th and 13th fields after it.
    let ticks = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_a_waiting_worker_uses_little_processor_time_and_logs_little() {
    const CLICKS: &str = "com.udacity.streams.clickevents";
    const POPULAR: &str = "com.udacity.streams.clickevents.popular";
    let mut cluster = Cluster::durable().await;
    cluster.create(CLICKS, 2).await;
    cluster.create(POPULAR, 2).await;
    let clicks = |count: i32| {
        (0..count).map(|n| Message::of(format!(r#"{{"email":"a","timestamp":"b","uri":"/{n}","number":{n}}}"#)))
    };
    let mut worker = Program::example("filter", cluster.dir("filter")).on(&cluster).args(["worker"]).spawn();
    cluster.produce(CLICKS, clicks(200)).await;
    cluster.wait_done("filter", CLICKS, 200).await;
    cluster.stop_broker();
    worker.wait_for_line("the broker is unavailable").await;
    let (before, lines, began) = (cpu(&worker), worker.stderr().len(), Instant::now());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let (used, said) = (cpu(&worker) - before, worker.stderr()[lines..].to_vec());
    assert!(used < began.elapsed().as_secs_f64() / 4.0, "used {used} s of processor time while waiting");
    assert!(said.len() < 40, "too many log lines:\n{}", said.join("\n"));
    let repeated: Vec<_> = said.iter().filter(|line| line.contains("still unavailable")).collect();
    assert!((1..=2).contains(&repeated.len()), "every ten seconds:\n{}", said.join("\n"));
    assert!(repeated[0].contains("127.0.0.1:") && repeated[0].contains("refused"), "{repeated:?}");
    cluster.start_broker();
    cluster.produce(CLICKS, clicks(150)).await;
    cluster.wait_done("filter", CLICKS, 350).await;
    worker.wait_for_line("the broker is available again").await;
    worker.interrupt();
    worker.wait().await.success();
    assert_eq!(cluster.count(POPULAR).await, 100 + 50);
}
