//! Failing agents: they are retried from the last commit, then stop the worker; failed events are never committed.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use faust::prelude::*;

use crate::harness::{Cluster, LONG, Message, wait_for};

static ATTEMPTS: Mutex<Vec<Instant>> = Mutex::new(Vec::new());

#[agent(topic = "fa-error")]
async fn erring(mut numbers: Stream<i64>) -> Result<()> {
    while let Some(number) = numbers.next().await {
        if number == 7 {
            ATTEMPTS.lock().unwrap().push(Instant::now());
            let cause = std::io::Error::other("the disk is full");
            return Err(faust::Error::Misuse(format!("no receipt: {cause}")).into());
        }
    }
    Ok(())
}

fn numbers(count: i64) -> impl Iterator<Item = Message> {
    (0..count).map(|n| Message::of(n.to_string()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_is_retried_with_backoff_and_stops_the_worker_after_five_attempts() {
    let cluster = Cluster::start().await;
    cluster.create("fa-error", 1).await;
    cluster.produce("fa-error", numbers(10)).await;
    let group = cluster.id("fa-error");
    let app = cluster.app("fa-error").only::<erring>().setting("agent_failure", "stop");
    let app = app.setting("agent_backoff_min", "40ms").setting("agent_backoff_max", "100ms");
    let worker = cluster.run(app).await;
    let error = worker.wait().await.unwrap_err();
    assert!(matches!(error, faust::Error::Agent { attempts: 5, .. }), "{error:?}");
    let expected = "agent `erring` failed 5 times at fa-error[0] offset 7: no receipt: the disk is full; \
                    no effects of that event are committed; to skip it, run `skip 'fa-error[0]' 7 --agent erring`";
    assert_eq!(error.to_string(), expected);
    assert_eq!(worker.status().counts.agent_failures, 5);
    assert!(cluster.done(&group, "fa-error").await <= 7);
    let attempts = ATTEMPTS.lock().unwrap().clone();
    assert_eq!(attempts.len(), 5);
    // The delays are minimums: a busy machine may add to them.
    for (pair, least) in attempts.windows(2).zip([40, 80, 100, 100]) {
        assert!(
            pair[1] - pair[0] >= Duration::from_millis(least),
            "{:?} is shorter than {least} ms",
            pair[1] - pair[0]
        );
    }
}

static ROUNDS: AtomicU32 = AtomicU32::new(0);

#[agent(topic = "fa-panic")]
async fn panicking(number: i64) {
    if number == 2 {
        ROUNDS.fetch_add(1, Ordering::SeqCst);
        panic!("cannot process {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_treated_like_an_error() {
    let cluster = Cluster::start().await;
    cluster.create("fa-panic", 1).await;
    cluster.produce("fa-panic", numbers(5)).await;
    let worker = cluster
        .run(
            cluster
                .app("fa-panic")
                .only::<panicking>()
                .setting("agent_failure", "stop")
                .setting("agent_max_attempts", "3"),
        )
        .await;
    let error = worker.wait().await.unwrap_err().to_string();
    let expected = "agent `panicking` failed 3 times at fa-panic[0] offset 2: it panicked: cannot process 2; \
                    no effects of that event are committed; to skip it, run `skip 'fa-panic[0]' 2 --agent panicking`";
    assert_eq!(error, expected);
    assert_eq!(ROUNDS.load(Ordering::SeqCst), 3);
    assert!(cluster.done(&cluster.id("fa-panic"), "fa-panic").await <= 2);
}

static FAILED: Mutex<BTreeMap<i64, u32>> = Mutex::new(BTreeMap::new());

/// Counts an attempt at this number, and returns whether it is one of the first four.
fn still_fails(number: i64) -> bool {
    let mut failed = FAILED.lock().unwrap();
    let times = failed.entry(number).or_default();
    *times += 1;
    *times <= 4
}

/// Fails four times at every tenth number before it succeeds.
#[agent(topic = "fa-transient")]
async fn transient(mut numbers: Stream<i64>, #[topic("fa-transient-out")] out: Topic<RawKey, i64>) -> Result<()> {
    while let Some(number) = numbers.next().await {
        if number % 10 == 9 && still_fails(number) {
            return Err("not yet".into());
        }
        out.send(&RawKey::NONE, &number).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transient_failure_loses_no_event_and_progress_resets_the_attempts() {
    let cluster = Cluster::start().await;
    cluster.create("fa-transient", 1).await;
    cluster.create("fa-transient-out", 1).await;
    cluster.produce("fa-transient", numbers(30)).await;
    let worker = cluster.run(cluster.app("fa-transient").only::<transient>()).await;
    cluster.wait_done(&cluster.id("fa-transient"), "fa-transient", 30).await;
    worker.stop().await.unwrap();
    assert_eq!(worker.status().counts.agent_failures, 12);
    // Messages sent since the last commit may be repeated, in the same order, but none is missing.
    let out: Vec<i64> = cluster.texts("fa-transient-out").await.iter().map(|n| n.parse().unwrap()).collect();
    let mut firsts = out.clone();
    firsts.sort_unstable();
    firsts.dedup();
    assert_eq!(firsts, (0..30).collect::<Vec<_>>());
    assert!(out.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{out:?} has a gap");
}

static HANDLED: Mutex<Vec<i64>> = Mutex::new(Vec::new());

#[agent(topic = "fa-return")]
async fn returning(mut numbers: Stream<i64>) {
    // A mistake: this should be `while`.
    if let Some(number) = numbers.next().await {
        HANDLED.lock().unwrap().push(number);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_returns_while_its_stream_is_open_has_failed_but_keeps_its_progress() {
    let cluster = Cluster::start().await;
    cluster.create("fa-return", 1).await;
    cluster.produce("fa-return", numbers(10)).await;
    let worker = cluster.run(cluster.app("fa-return").only::<returning>().setting("agent_failure", "stop")).await;
    let error = worker.wait().await.unwrap_err().to_string();
    let expected = "agent `returning` failed 5 times at fa-return[0] offset 4: agent ended while its stream is open; \
                    let it return only after `next()` has returned `None`; no effects of that event are committed";
    assert_eq!(error, expected);
    assert_eq!(*HANDLED.lock().unwrap(), [0, 1, 2, 3, 4]);
}

static NEIGHBOUR: Mutex<Vec<i64>> = Mutex::new(Vec::new());

#[agent(topic = "fa-neighbour")]
async fn sick_in_one_partition(mut numbers: Stream<i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        if event.partition() == 0 {
            return Err("sick".into());
        }
        NEIGHBOUR.lock().unwrap().push(*event.value());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_partitions_continue_while_one_fails_and_are_committed_at_the_end() {
    let cluster = Cluster::start().await;
    cluster.create("fa-neighbour", 2).await;
    cluster.produce("fa-neighbour", (0..100).map(|n| Message::of(n.to_string()).to(i32::from(n > 0)))).await;
    let app = cluster.app("fa-neighbour").only::<sick_in_one_partition>();
    let app =
        app.setting("agent_failure", "stop").setting("agent_max_attempts", "3").setting("agent_backoff_min", "500ms");
    let worker = cluster.run(app).await;
    wait_for("the healthy partition", LONG, async || NEIGHBOUR.lock().unwrap().len() == 99).await;
    worker.wait().await.unwrap_err();
    let committed = cluster.committed(&cluster.id("fa-neighbour"), "fa-neighbour").await;
    assert_eq!(committed[&1].offset.0, 99);
    assert!(committed.get(&0).is_none_or(|committed| committed.offset.0 == 0), "{committed:?}");
}
