//! Committed offsets, and the events that are processed again after a restart.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use faust::prelude::*;
use faust::{Offset, Worker, WorkerOptions};
use tokio::sync::{Notify, Semaphore};

use crate::harness::{Cluster, End, LONG, Message, wait_for};

fn numbers(count: i64) -> impl Iterator<Item = Message> {
    (0..count).map(|n| Message::of(n.to_string()))
}

static HELD: Mutex<BTreeMap<i64, Event<i64>>> = Mutex::new(BTreeMap::new());

/// Keeps its events, which the test acks.
#[agent(topic = "co-events")]
async fn hold(numbers: Stream<i64>) {
    let mut events = numbers.noack();
    while let Some(event) = events.next().await {
        HELD.lock().unwrap().insert(*event.value(), event);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_committed_offset_never_passes_an_event_that_is_not_acked() {
    let cluster = Cluster::start().await;
    cluster.create("co-events", 1).await;
    cluster.produce("co-events", numbers(20)).await;
    let group = cluster.id("co-events");
    let worker = cluster.run(cluster.app("co-events").only::<hold>()).await;
    wait_for("all events", LONG, async || HELD.lock().unwrap().len() == 20).await;
    let ack = |n: i64| HELD.lock().unwrap()[&n].ack();
    let mut acked = [false; 20];
    // Acks the odd events in descending order, then the even ones: the offset must never pass the first unacked event.
    for n in (0..20).rev().filter(|n| n % 2 == 1).chain((0..20).filter(|n| n % 2 == 0)) {
        ack(n);
        acked[usize::try_from(n).unwrap()] = true;
        let contiguous = acked.iter().take_while(|acked| **acked).count();
        let commits = worker.status().counts.commits;
        wait_for("the next commit", LONG, async || {
            let done = cluster.done(&group, "co-events").await;
            assert!(done <= contiguous, "{done} are committed, but only {contiguous} are acked");
            // A commit without progress is not made.
            done == contiguous && (contiguous == 0 || worker.status().counts.commits > 0 || commits > 0)
        })
        .await;
    }
    // A second ack of the same event must not count for another one.
    ack(0);
    worker.stop().await.unwrap();
    assert_eq!(cluster.done(&group, "co-events").await, 20);
}

static SLOW_MAY: Semaphore = Semaphore::const_new(0);
static SEEN: Mutex<Vec<(&str, i64)>> = Mutex::new(Vec::new());

#[agent(topic = "co-pair")]
async fn slow(mut numbers: Stream<i64>) -> Result<()> {
    while let Some(number) = numbers.next().await {
        SLOW_MAY.acquire().await?.forget();
        SEEN.lock().unwrap().push(("slow", number));
    }
    Ok(())
}

#[agent(topic = "co-pair")]
async fn fast(mut numbers: Stream<i64>) {
    while let Some(number) = numbers.next().await {
        SEEN.lock().unwrap().push(("fast", number));
    }
}

fn seen(agent: &str) -> Vec<i64> {
    SEEN.lock().unwrap().iter().filter(|(name, _)| *name == agent).map(|(_, number)| *number).collect()
}

/// Stops a worker whose agents wait for permits inside their events.
async fn stop_with_permits(worker: Worker, permits: &Semaphore) {
    worker.begin_stop();
    let stopped = worker.wait();
    tokio::pin!(stopped);
    while tokio::time::timeout(Duration::from_millis(20), &mut stopped).await.map(Result::unwrap).is_err() {
        permits.add_permits(1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_agent_holds_back_the_offset_and_a_fast_one_repeats_no_event_after_a_restart() {
    let cluster = Cluster::start().await;
    cluster.create("co-pair", 1).await;
    cluster.produce("co-pair", numbers(50)).await;
    let group = cluster.id("co-pair");
    let app = || cluster.app("co-pair").only::<slow>().agent::<fast>();
    let worker = cluster.run(app()).await;
    wait_for("the fast agent", LONG, async || seen("fast").len() == 50).await;
    SLOW_MAY.add_permits(10);
    wait_for("the slow agent", LONG, async || seen("slow").len() == 10).await;
    // The slow agent is in the middle of an event, which it finishes during the stop.
    stop_with_permits(worker, &SLOW_MAY).await;
    let committed = cluster.committed(&group, "co-pair").await;
    let slow_done = i64::try_from(seen("slow").len()).unwrap();
    assert_eq!(committed[&0].offset.0, slow_done, "{committed:?}");
    let position = |agent| faust::testing::committed_position(&committed[&0].metadata, "co-pair", agent);
    assert_eq!((position("slow"), position("fast")), (Some(Offset(slow_done)), Some(Offset(50))));
    SLOW_MAY.add_permits(100);
    let worker = cluster.run(app()).await;
    cluster.wait_done(&group, "co-pair", 50).await;
    worker.stop().await.unwrap();
    assert_eq!(seen("slow"), (0..50).collect::<Vec<_>>());
    assert_eq!(seen("fast"), (0..50).collect::<Vec<_>>());
}

static TURTLE_MAY: Semaphore = Semaphore::const_new(0);

/// Waits for a permit within its first event.
#[agent(topic = "co-behind")]
async fn turtle(mut numbers: Stream<i64>) -> Result<()> {
    let mut is_first = true;
    while let Some(number) = numbers.next().await {
        if std::mem::take(&mut is_first) {
            TURTLE_MAY.acquire().await?.forget();
        }
        SEEN.lock().unwrap().push(("turtle", number));
    }
    Ok(())
}

#[agent(topic = "co-behind")]
async fn hare(mut numbers: Stream<i64>) {
    while let Some(number) = numbers.next().await {
        SEEN.lock().unwrap().push(("hare", number));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_in_a_long_event_holds_up_no_other_and_reads_again_what_was_not_kept_for_it() {
    let cluster = Cluster::start().await;
    cluster.create("co-behind", 1).await;
    cluster.produce("co-behind", numbers(5000)).await;
    let group = cluster.id("co-behind");
    let app = cluster.app("co-behind").only::<turtle>().agent::<hare>();
    let app = app.setting("stream_buffer_maxsize", "300").setting("broker_commit_interval", "200ms");
    let worker = cluster.run(app).await;
    wait_for("the fast agent", LONG, async || seen("hare").len() == 5000).await;
    let position = async |agent| {
        let committed = cluster.committed(&group, "co-behind").await;
        let metadata = &committed.get(&0)?.metadata;
        faust::testing::committed_position(metadata, "co-behind", agent).map(|offset| offset.0)
    };
    wait_for("the commit of the fast agent", LONG, async || position("hare").await == Some(5000)).await;
    assert_eq!((position("turtle").await, seen("turtle").len()), (Some(0), 0));
    // The slow agent reads on while the other one follows new messages.
    TURTLE_MAY.add_permits(1);
    cluster.produce("co-behind", (5000..6000).map(|n| Message::of(n.to_string()))).await;
    cluster.wait_done(&group, "co-behind", 6000).await;
    worker.stop().await.unwrap();
    let expected = (0..6000).collect::<Vec<_>>();
    assert!(seen("turtle") == expected && seen("hare") == expected, "an event was lost, repeated or out of order");
}

static ENTERED: Notify = Notify::const_new();
static GO_ON: Semaphore = Semaphore::const_new(0);

/// Awaits in the middle of each event, between the two messages it sends.
#[agent(topic = "co-middle")]
async fn middle(mut numbers: Stream<i64>, #[topic("co-middle-out")] out: Topic<RawKey, i64>) -> Result<()> {
    while let Some(number) = numbers.next().await {
        out.send(&RawKey::NONE, &number).await?;
        ENTERED.notify_one();
        GO_ON.acquire().await?.forget();
        out.send(&RawKey::NONE, &-number).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_in_the_middle_of_an_event_contains_nothing_of_it_and_is_counted() {
    let cluster = Cluster::start().await;
    cluster.create("co-middle", 1).await;
    cluster.create("co-middle-out", 1).await;
    cluster.produce("co-middle", numbers(3)).await;
    let group = cluster.id("co-middle");
    let app = cluster.app("co-middle").only::<middle>().setting("broker_commit_interval", "50ms");
    let worker = cluster.run(app).await;
    for n in 0..3 {
        ENTERED.notified().await;
        let missed = worker.status().counts.seals_missed;
        wait_for("two seals missed", LONG, async || worker.status().counts.seals_missed >= missed + 2).await;
        assert!(cluster.done(&group, "co-middle").await <= n, "event {n} is committed before it is processed");
        GO_ON.add_permits(1);
    }
    cluster.wait_done(&group, "co-middle", 3).await;
    worker.stop().await.unwrap();
    assert_eq!(cluster.texts("co-middle-out").await, ["0", "0", "1", "-1", "2", "-2"]);
}

static HANDLED: Mutex<Vec<i64>> = Mutex::new(Vec::new());

/// Computes without awaiting anything but its stream.
#[agent(topic = "co-busy")]
async fn busy(mut numbers: Stream<i64>) {
    while numbers.next().await.is_some() {
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_micros(50) {
            std::hint::spin_loop();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_only_computes_is_committed_and_stopped_in_the_middle_of_its_backlog() {
    let cluster = Cluster::start().await;
    cluster.create("co-busy", 1).await;
    let backlog = 100_000;
    cluster.produce("co-busy", (0..backlog).map(|n| Message::of(n.to_string()))).await;
    let worker = cluster.run(cluster.app("co-busy").only::<busy>().setting("broker_commit_interval", "100ms")).await;
    wait_for("a commit", LONG, async || worker.status().counts.commits >= 3).await;
    worker.stop().await.unwrap();
    let done = cluster.done(&cluster.id("co-busy"), "co-busy").await;
    assert!(done > 0 && done < backlog, "{done} of {backlog} events: the worker must stop within its backlog");
}

static HANDLE_MAY: Semaphore = Semaphore::const_new(0);

#[agent(topic = "co-stop")]
async fn handle(mut numbers: Stream<i64>) -> Result<()> {
    while let Some(number) = numbers.next().await {
        HANDLE_MAY.acquire().await?.forget();
        HANDLED.lock().unwrap().push(number);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_commits_all_processed_events_and_a_restart_repeats_none() {
    let cluster = Cluster::start().await;
    cluster.create("co-stop", 3).await;
    cluster.produce("co-stop", (0..3_000).map(|n| Message::of(n.to_string()).to(n % 3))).await;
    let group = cluster.id("co-stop");
    // The only commit is that of the stop.
    let app = || cluster.app("co-stop").only::<handle>().setting("broker_commit_interval", "1h");
    let mut before = 0;
    while before < 3_000 {
        let worker = cluster.run(app()).await;
        HANDLE_MAY.add_permits(700);
        wait_for("some events", LONG, async || HANDLED.lock().unwrap().len() >= 3_000.min(before + 700)).await;
        // Each of the three partitions has an agent inside an event, which finishes during the stop.
        stop_with_permits(worker, &HANDLE_MAY).await;
        before = HANDLED.lock().unwrap().len();
        assert_eq!(cluster.done(&group, "co-stop").await, before, "exactly the processed events are committed");
    }
    let mut handled = HANDLED.lock().unwrap().clone();
    handled.sort_unstable();
    assert_eq!(handled, (0..3_000).collect::<Vec<_>>());
}

static REFUSED: AtomicBool = AtomicBool::new(true);

/// Sends a message that is too large for its topic while `REFUSED` is set.
#[agent(topic = "co-large")]
async fn enlarge(mut numbers: Stream<i64>, #[topic("co-large-out")] out: Topic<RawKey, String>) -> Result<()> {
    while let Some(number) = numbers.next().await {
        let size = if number == 5 && REFUSED.load(Ordering::SeqCst) { 100_000 } else { 10 };
        out.send(&RawKey::NONE, &"x".repeat(size)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_whose_output_was_rejected_is_not_committed() {
    let cluster = Cluster::start().await;
    cluster.create("co-large", 1).await;
    cluster.create_with("co-large-out", 1, &[("max.message.bytes", "10000")]).await;
    cluster.produce("co-large", numbers(10)).await;
    let group = cluster.id("co-large");
    let app = cluster.app("co-large").only::<enlarge>();
    let worker = cluster.run(app).await;
    wait_for("a failure", LONG, async || worker.status().counts.agent_failures > 0).await;
    assert!(cluster.done(&group, "co-large").await <= 5);
    REFUSED.store(false, Ordering::SeqCst);
    cluster.wait_done(&group, "co-large", 10).await;
    worker.stop().await.unwrap();
    assert!(cluster.count("co-large-out").await >= 10);
}

#[agent(topic = "co-marked")]
async fn read(mut numbers: Stream<i64>) {
    while numbers.next().await.is_some() {}
}

/// Transaction markers and aborted messages count as read, and an open transaction keeps a worker from being idle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_committed_offset_reaches_the_end_of_a_topic_with_transactions() {
    let cluster = Cluster::start().await;
    if !cluster.is_real() {
        return; // The embedded broker does not support transactions.
    }
    cluster.create("co-marked", 1).await;
    cluster.transaction("co-marked", numbers(3).collect(), End::Commit).await;
    cluster.transaction("co-marked", numbers(2).collect(), End::Abort).await;
    let (group, app) = (cluster.id("co-marked"), || cluster.app("co-marked").only::<read>());
    let worker = cluster.run(app()).await;
    cluster.wait_done(&group, "co-marked", 3 + 1 + 2 + 1).await;
    worker.stop().await.unwrap();

    let open = cluster.open_transaction("co-marked", numbers(1).collect()).await;
    let options = WorkerOptions::default().until_idle(Duration::from_millis(200));
    let worker = app().build().unwrap().start_with(options).await.unwrap();
    worker.ready().await;
    let ended = tokio::time::timeout(Duration::from_secs(5), worker.wait()).await;
    assert!(ended.is_err(), "the worker must wait for the open transaction");
    open.end(End::Commit).await;
    tokio::time::timeout(LONG, worker.wait()).await.expect("the worker must end").unwrap();
    assert_eq!(cluster.done(&group, "co-marked").await, 7 + 1 + 1);
}

#[agent(topic = "co-kept")]
async fn kept(mut numbers: Stream<i64, String>, kept_sums: Table<String, i64>) {
    while let Some(event) = numbers.next_event().await {
        kept_sums.update(event.key(), |sum| *sum += event.value());
    }
}

static GONE: Notify = Notify::const_new();

#[agent(topic = "co-gone")]
async fn gone(mut numbers: Stream<i64>) {
    while numbers.next().await.is_some() {
        GONE.notify_one();
    }
}

/// The offset of a deleted topic is refused with every commit, and those beside it are accepted. Changes whose commit is not
/// confirmed would be written to the changelog again with each of the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_topic_does_not_stop_the_commits_of_others() {
    let cluster = Cluster::start().await;
    for topic in ["co-kept", "co-gone"] {
        cluster.create(topic, 1).await;
    }
    let group = cluster.id("co-deleted");
    // Long enough that the topic is deleted before the event is committed.
    let app = cluster.app("co-deleted").only::<kept>().only::<gone>().setting("broker_commit_interval", "2s");
    let worker = cluster.run(app).await;
    cluster.produce("co-gone", [Message::of("1")]).await;
    GONE.notified().await;
    cluster.delete("co-gone").await;
    for number in 1..=4 {
        cluster.produce("co-kept", [Message::of("1").key(format!("k{number}"))]).await;
        cluster.wait_done(&group, "co-kept", number).await;
    }
    worker.stop().await.unwrap();
    let changelog = cluster.read(&format!("{group}-kept_sums-changelog")).await;
    assert_eq!(changelog.len(), 4, "each change is written once");
}

/// Number of blocks that have ended.
static UNBLOCKED: Mutex<i64> = Mutex::new(0);
static UNBLOCK: std::sync::Condvar = std::sync::Condvar::new();

/// Blocks its thread at each number that is not negative, until as many blocks have ended.
#[agent(topic = "co-blocked")]
async fn blocking(mut numbers: Stream<i64>) {
    while let Some(number) = numbers.next().await {
        if number >= 0 {
            let ended = UNBLOCKED.lock().unwrap();
            drop(UNBLOCK.wait_while(ended, |ended| *ended <= number).unwrap());
        }
    }
}

fn unblock(ended: i64) {
    *UNBLOCKED.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = ended;
    UNBLOCK.notify_all();
}

/// Lets the blocked agent go on if the test fails: its runtime could not end otherwise.
struct UnblockAll;

impl Drop for UnblockAll {
    fn drop(&mut self) {
        unblock(i64::MAX);
    }
}

/// Law: an agent that blocks its thread costs no other partition its commits, and is reported.
///
/// Commits are frequent, so that the control loop has often just been woken on a thread whose next task is the agent's: by a timer, or
/// by the answer to a commit. Tokio leaves the task that a thread has woken last to this thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_agent_that_blocks_its_thread_stops_no_commit_of_another_partition() {
    const ROUNDS: i64 = 15;
    let cluster = Cluster::start().await;
    cluster.create("co-blocked", 8).await;
    let group = cluster.id("co-blocked");
    let app = cluster.app("co-blocked").only::<blocking>().setting("stream_processing_timeout", "100ms");
    let worker = cluster.run(app.setting("broker_commit_interval", "10ms")).await;
    let _unblock = UnblockAll;
    for round in 0..ROUNDS {
        cluster.produce("co-blocked", [Message::of(round.to_string()).to(0)]).await;
        let place = format!("agent `blocking` at co-blocked[0] offset {round}");
        wait_for("the report", LONG, async || worker.status().stuck == [place.clone()]).await;
        assert!(!worker.status().ready);
        cluster.produce("co-blocked", (1..8).map(|partition| Message::of("-1").to(partition))).await;
        wait_for("the commits of the others", LONG, async || {
            let committed = cluster.committed(&group, "co-blocked").await;
            (1..8).all(|partition| committed.get(&partition).is_some_and(|at| at.offset == Offset(round + 1)))
        })
        .await;
        let blocked = cluster.committed(&group, "co-blocked").await.get(&0).map_or(0, |at| at.offset.0);
        assert!(blocked <= round, "{blocked} events are committed before event {round} has ended");
        unblock(round + 1);
    }
    cluster.wait_done(&group, "co-blocked", usize::try_from(ROUNDS * 8).unwrap()).await;
    worker.stop().await.unwrap();
    assert_eq!(worker.status().counts.agent_failures, 0);
}

/// Reads two topics: the commit of the one that stays names positions in the other one.
#[agent(topics = ["co-new", "co-beside"])]
async fn pair(mut numbers: Stream<i64>) {
    while let Some(number) = numbers.next().await {
        SEEN.lock().unwrap().push(("pair", number));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_created_again_while_no_worker_runs_is_read_from_its_beginning() {
    let cluster = Cluster::start().await;
    let group = cluster.id("co-new");
    let app = || cluster.app("co-new").only::<pair>();
    for topic in ["co-new", "co-beside"] {
        cluster.create(topic, 1).await;
        cluster.produce(topic, numbers(5)).await;
    }
    let worker = cluster.run(app()).await;
    cluster.wait_done(&group, "co-new", 5).await;
    cluster.wait_done(&group, "co-beside", 5).await;
    worker.stop().await.unwrap();
    // The new log is longer than the position in the former one.
    cluster.delete("co-new").await;
    cluster.create("co-new", 1).await;
    cluster.produce("co-new", (10..20).map(|n| Message::of(n.to_string()))).await;
    let worker = cluster.run(app()).await;
    cluster.wait_done(&group, "co-new", 10).await;
    worker.stop().await.unwrap();
    let mut all = seen("pair");
    all.sort_unstable();
    let twice = (0..5).flat_map(|n| [n, n]);
    assert_eq!(all, twice.chain(10..20).collect::<Vec<_>>());
}
