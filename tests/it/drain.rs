//! Shutdown of a worker: agents finish their current events, and those that do not are dropped after a timeout.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use faust::prelude::*;
use faust_broker::BrokerConfig;
use tokio::sync::{Notify, Semaphore};

use crate::harness::{Cluster, Message};

static ENTERED: Notify = Notify::const_new();
static MAY_FINISH: Semaphore = Semaphore::const_new(0);

#[agent(topic = "dr-finish")]
async fn finish(mut numbers: Stream<i64>, #[topic("dr-finish-out")] out: Topic<RawKey, String>) -> Result<()> {
    while let Some(number) = numbers.next().await {
        ENTERED.notify_one();
        MAY_FINISH.acquire().await?.forget();
        out.send(&RawKey::NONE, &format!("did {number}")).await?;
    }
    // After the end of its stream, an agent can still finish its work.
    tokio::time::sleep(Duration::from_millis(50)).await;
    out.send(&RawKey::NONE, &"goodbye".to_owned()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_the_current_event_and_the_code_after_the_loop() {
    let cluster = Cluster::start().await;
    cluster.create("dr-finish", 1).await;
    cluster.create("dr-finish-out", 1).await;
    cluster.produce("dr-finish", (0..5).map(|n| Message::of(n.to_string()))).await;
    let worker = cluster.run(cluster.app("dr-finish").only::<finish>()).await;
    ENTERED.notified().await;
    worker.begin_stop();
    let stopped = worker.wait();
    tokio::pin!(stopped);
    let early = tokio::time::timeout(Duration::from_millis(500), &mut stopped).await;
    assert!(early.is_err(), "the stop did not wait for the event");
    MAY_FINISH.add_permits(1);
    stopped.await.unwrap();
    assert_eq!(cluster.texts("dr-finish-out").await, ["did 0", "goodbye"]);
    assert_eq!(cluster.done(&cluster.id("dr-finish"), "dr-finish").await, 1);
}

#[agent(topic = "dr-stuck")]
async fn stuck(mut numbers: Stream<i64>) {
    while let Some(number) = numbers.next().await {
        if number == 1 {
            ENTERED_STUCK.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

static ENTERED_STUCK: Notify = Notify::const_new();

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_agent_is_dropped_and_its_event_is_not_committed() {
    let cluster = Cluster::start().await;
    cluster.create("dr-stuck", 1).await;
    cluster.produce("dr-stuck", (0..3).map(|n| Message::of(n.to_string()))).await;
    let app = cluster.app("dr-stuck").only::<stuck>().setting("shutdown_timeout", "2s");
    let worker = cluster.run(app.setting("stream_processing_timeout", "300ms")).await;
    ENTERED_STUCK.notified().await;
    crate::harness::wait_for("the stuck agent in the status", crate::harness::LONG, async || !worker.status().ready)
        .await;
    assert!(worker.status().stuck[0].contains("dr-stuck[0] offset 1"), "{:?}", worker.status().stuck);
    let ended = tokio::time::timeout(Duration::from_secs(20), worker.stop()).await.expect("the worker stops");
    assert!(matches!(ended, Err(faust::Error::ShutdownTimeout(_))), "{ended:?}");
    // The event before it is committed, the event itself is not.
    assert_eq!(cluster.done(&cluster.id("dr-stuck"), "dr-stuck").await, 1);
}

static BLOCKED: AtomicBool = AtomicBool::new(false);
static RELEASED: AtomicBool = AtomicBool::new(false);

#[agent(topic = "dr-block")]
async fn block(mut numbers: Stream<i64>) {
    while let Some(_number) = numbers.next().await {
        BLOCKED.store(true, Ordering::SeqCst);
        // Blocks its thread, which an async function must not do.
        while !RELEASED.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_worker_whose_agent_blocks_its_thread_stops_after_the_shutdown_timeout() {
    let cluster = Cluster::start().await;
    cluster.create("dr-block", 1).await;
    cluster.produce("dr-block", [Message::of("0")]).await;
    let worker = cluster.run(cluster.app("dr-block").only::<block>().setting("shutdown_timeout", "1s")).await;
    crate::harness::wait_for("the agent", crate::harness::LONG, async || BLOCKED.load(Ordering::SeqCst)).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), worker.stop()).await.expect("the worker stops");
    RELEASED.store(true, Ordering::SeqCst);
    assert!(matches!(ended, Err(faust::Error::ShutdownTimeout(_))), "{ended:?}");
    assert_eq!(cluster.done(&cluster.id("dr-block"), "dr-block").await, 0);
}

static STARTS: AtomicU32 = AtomicU32::new(0);

#[agent(topic = "dr-failed-late")]
async fn fails_late(mut numbers: Stream<i64>) -> Result<()> {
    STARTS.fetch_add(1, Ordering::SeqCst);
    let mut last = 0;
    while let Some(number) = numbers.next().await {
        last = number;
    }
    Err(format!("cannot finish after {last}").into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_fails_after_the_end_of_its_stream_is_not_restarted() {
    let cluster = Cluster::start().await;
    cluster.create("dr-failed-late", 1).await;
    cluster.produce("dr-failed-late", (0..3).map(|n| Message::of(n.to_string()))).await;
    let group = cluster.id("dr-failed-late");
    let worker = cluster.run(cluster.app("dr-failed-late").only::<fails_late>()).await;
    cluster.wait_done(&group, "dr-failed-late", 2).await;
    worker.stop().await.unwrap();
    assert_eq!(STARTS.load(Ordering::SeqCst), 2, "one start for planning and one for the partition");
    assert!(cluster.done(&group, "dr-failed-late").await >= 2);
}

static ENTERED_LONG: Notify = Notify::const_new();

#[agent(topic = "dr-long", sink = "dr-long-out")]
async fn long(number: i64) -> i64 {
    ENTERED_LONG.notify_one();
    tokio::time::sleep(Duration::from_secs(4)).await;
    number
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_a_drain_longer_than_the_session_timeout_still_commits() {
    // Kafka's shortest session timeout would make the drain, and this test, six times as long.
    let cluster = Cluster::embedded(BrokerConfig::default().with_min_session_timeout(Duration::from_secs(1))).await;
    cluster.create("dr-long", 1).await;
    cluster.create("dr-long-out", 1).await;
    cluster.produce("dr-long", (0..3).map(|n| Message::of(n.to_string()))).await;
    let app = cluster.app("dr-long").only::<long>().setting("broker_heartbeat_interval", "300ms");
    let worker = cluster.run(app.setting("broker_session_timeout", "1s")).await;
    ENTERED_LONG.notified().await;
    worker.stop().await.unwrap();
    assert_eq!(cluster.texts("dr-long-out").await, ["0"]);
    assert_eq!(cluster.done("dr-long", "dr-long").await, 1);
}
