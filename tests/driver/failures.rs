//! Failing agents, and messages that cannot be decoded (promise P6).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use faust::__private::serde;
use faust::prelude::*;
use faust::testing::{ClusterFault, FaultProfile, TestDriver, WorkerId};
use faust::transport::{Admin, TopicPartition};
use faust::{Error, Offset};

use super::harness::at_least_once;
use futures_util::FutureExt;

static BROKEN: AtomicU32 = AtomicU32::new(0);

/// Always fails at 13, and panics twice at 7.
#[agent(topic = "in")]
async fn fragile(mut numbers: Stream<i64>, #[topic("out")] out: Topic<RawKey, i64>) -> Result<()> {
    while let Some(n) = numbers.next().await {
        if n == 13 {
            return Err("thirteen is rejected".into());
        }
        if n == 7 && BROKEN.fetch_add(1, Ordering::Relaxed) < 2 {
            panic!("seven is rejected");
        }
        out.send(&RawKey::NONE, &n).await?;
    }
    Ok(())
}

fn start(app: faust::AppBuilder) -> (TestDriver, WorkerId) {
    let mut driver = TestDriver::new(app.setting("topic_partitions", 1)).unwrap();
    let worker = driver.start_worker().unwrap();
    (driver, worker)
}

fn outputs(driver: &mut TestDriver) -> Vec<i64> {
    driver.read::<RawKey, i64>("out").unwrap().into_iter().map(|(_, n)| n).collect()
}

#[test]
fn a_failing_agent_is_restarted_and_finally_stops_the_worker() {
    let (mut driver, worker) = start(at_least_once("failures").only::<fragile>().setting("agent_failure", "stop"));
    driver.send("in", &RawKey::NONE, &1i64).unwrap();
    driver.commit();
    // A transient panic: the agent is restarted and recovers. Before its first retry, it seals the events before the failing
    // one, which are not repeated again.
    for n in [6i64, 7, 8] {
        driver.send("in", &RawKey::NONE, &n).unwrap();
    }
    driver.advance(Duration::from_secs(1));
    assert_eq!(outputs(&mut driver), [1, 6, 6, 7, 8]);
    driver.commit();
    // A permanent error: the worker stops after five attempts.
    driver.send("in", &RawKey::NONE, &13i64).unwrap();
    driver.send("in", &RawKey::NONE, &14i64).unwrap();
    driver.advance(Duration::from_secs(10));
    let Some(Err(error)) = driver.ended(worker) else { panic!("the worker is still running") };
    let text = error.to_string();
    assert!(matches!(error, Error::Agent { attempts: 5, .. }), "{text}");
    for part in ["agent `fragile`", "in[0] offset 4", "thirteen is rejected"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    assert_eq!(driver.committed("in").unwrap().get(&0), Some(&Offset(4)), "the failed event is not committed");
    assert!(!outputs(&mut driver).contains(&14));
}

/// Returns after its second event.
#[agent(topic = "in")]
async fn hasty(mut numbers: Stream<i64>, #[topic("out")] out: Topic<RawKey, i64>) -> Result<()> {
    for _ in 0..2 {
        let Some(n) = numbers.next().await else { return Ok(()) };
        out.send(&RawKey::NONE, &n).await?;
    }
    Ok(())
}

#[test]
fn an_early_return_is_a_failure_that_still_finishes_the_event() {
    let (mut driver, worker) =
        start(App::new("failures").only::<hasty>().setting("agent_failure", "stop").setting("agent_max_attempts", 3));
    for n in 0..10 {
        driver.send("in", &RawKey::NONE, &n).unwrap();
    }
    driver.advance(Duration::from_secs(5));
    let Some(Err(error)) = driver.ended(worker) else { panic!("the worker is still running") };
    assert!(error.to_string().contains("ended while its stream is open"), "{error}");
    assert_eq!(outputs(&mut driver), (0..6).collect::<Vec<i64>>(), "three times two events, none twice");
}

#[test]
fn undecodable_messages_go_to_the_dead_letter_topic_in_order() {
    let (mut driver, worker) = start(App::new("failures").only::<fragile>());
    let bad = [r#""x""#, "{", "", "1.5"];
    for (index, text) in bad.iter().enumerate() {
        driver.send("in", &RawKey::NONE, &(index as i64)).unwrap();
        driver.send_with("in", &format!("k{index}"), &(*text).to_owned(), |m| m.header("trace", "t")).unwrap();
    }
    driver.commit();
    assert_eq!(outputs(&mut driver), [0, 1, 2, 3]);
    assert_eq!(driver.committed("in").unwrap().get(&0), Some(&Offset(8)));
    assert_eq!(driver.status(worker).unwrap().counts.dead_letters, 4);
    let letters = driver.messages("failures-dead-letter").unwrap();
    let offsets: Vec<_> =
        letters.iter().map(|letter| letter.headers.get_str("faust-offset").unwrap().to_owned()).collect();
    assert_eq!(offsets, ["1", "3", "5", "7"]);
    let first = &letters[0];
    assert_eq!((first.key.as_deref(), first.payload.as_deref()), (Some(&b"k0"[..]), Some(&br#""x""#[..])));
    for (name, value) in [("trace", "t"), ("faust-agent", "fragile"), ("faust-topic", "in"), ("faust-partition", "0")] {
        assert_eq!(first.headers.get_str(name), Some(value), "{name}");
    }
    assert_eq!(first.headers.get_str("faust-error"), Some("value: expected i64, found string \"x\""));
}

#[test]
fn the_decode_error_policies_skip_and_stop() {
    let (mut driver, worker) = start(at_least_once("failures").only::<fragile>().setting("on_decode_error", "skip"));
    driver.send("in", &RawKey::NONE, &"x".to_owned()).unwrap();
    driver.send("in", &RawKey::NONE, &1i64).unwrap();
    driver.commit();
    assert_eq!((outputs(&mut driver), driver.status(worker).unwrap().counts.skipped), (vec![1], 1));

    let (mut driver, worker) = start(at_least_once("failures").only::<fragile>().setting("on_decode_error", "stop"));
    driver.send("in", &RawKey::NONE, &1i64).unwrap();
    driver.send("in", &RawKey::NONE, &"x".to_owned()).unwrap();
    driver.commit();
    let Some(Err(error)) = driver.ended(worker) else { panic!("the worker is still running") };
    assert!(error.to_string().contains("in[0] offset 1") && error.to_string().contains("on_decode_error"), "{error}");
    assert_eq!(outputs(&mut driver), [1]);
}

#[test]
fn nothing_after_a_message_that_stops_the_worker_is_processed() {
    let mut driver = TestDriver::new(
        at_least_once("failures").only::<fragile>().setting("topic_partitions", 1).setting("on_decode_error", "stop"),
    )
    .unwrap();
    driver.create_topic("in", 1).unwrap();
    for text in ["1", "x", "2"] {
        driver.send("in", &RawKey::NONE, &text.to_owned()).unwrap();
    }
    let worker = driver.start_worker().unwrap();
    driver.commit();
    assert!(matches!(driver.ended(worker), Some(Err(Error::Decode { .. }))));
    assert_eq!(outputs(&mut driver), [1]);
}

#[test]
fn a_driver_is_not_idle_before_a_failed_worker_has_ended() {
    for store in ["memory://", "sled://", "fjall://"] {
        for _ in 0..10 {
            let data = tempfile::tempdir().unwrap();
            let app = App::new("failures").only::<fragile>().setting("on_decode_error", "stop").setting("store", store);
            let (mut driver, worker) = start(app.setting("datadir", data.path().display()));
            driver.send("in", &RawKey::NONE, &"x".to_owned()).unwrap();
            driver.run_until_idle();
            let ended = driver.ended(worker);
            assert!(matches!(ended, Some(Err(Error::Decode { .. }))), "{store}: {ended:?}");
        }
    }
}

/// Adds an operator after it has already read an event.
#[agent(topic = "in")]
async fn late(mut numbers: Stream<i64>) {
    numbers.next().await;
    let mut numbers = numbers.filter(|n| *n > 0);
    while numbers.next().await.is_some() {}
}

#[test]
fn adding_an_operator_to_a_stream_being_read_is_an_error() {
    let (mut driver, worker) = start(App::new("failures").only::<late>());
    driver.send("in", &RawKey::NONE, &1i64).unwrap();
    driver.commit();
    let Some(Err(error)) = driver.ended(worker) else { panic!("the worker is still running") };
    assert!(error.to_string().contains("before the loop"), "{error}");
}

/// Reads its stream in a Tokio task of its own.
#[agent(topic = "in")]
async fn spawns(mut numbers: Stream<i64>) -> Result<()> {
    let reading = tokio::spawn(async move { while numbers.next().await.is_some() {} });
    reading.await?;
    Ok(())
}

/// Reads the first event itself, and all others in a Tokio task of their own.
#[agent(topic = "in")]
async fn spawns_later(mut numbers: Stream<i64>) -> Result<()> {
    numbers.next().await;
    let reading = tokio::spawn(async move { while numbers.next().await.is_some() {} });
    reading.await?;
    Ok(())
}

#[test]
fn a_stream_that_another_tokio_task_reads_later_is_an_error_too() {
    let (mut driver, worker) = start(App::new("failures").only::<spawns_later>());
    for n in [1i64, 2] {
        driver.send("in", &RawKey::NONE, &n).unwrap();
    }
    driver.run_until_idle();
    driver.advance(Duration::from_secs(10));
    let Some(Err(error)) = driver.ended(worker) else { panic!("the worker is still running") };
    let text = error.to_string();
    assert!(text.contains("another Tokio task") && text.contains("events()"), "{text}");
}

#[test]
fn a_stream_that_another_tokio_task_reads_is_an_error() {
    let mut driver = TestDriver::new(App::new("failures").only::<spawns>()).unwrap();
    let text = driver.start_worker().unwrap_err().to_string();
    assert!(text.contains("another Tokio task") && text.contains("events()"), "{text}");
}

/// Returns after its first batch.
#[agent(topic = "in")]
async fn hasty_batch(numbers: Stream<i64>, #[topic("out")] out: Topic<RawKey, i64>) -> Result<()> {
    let mut batches = numbers.take(2, Duration::from_secs(1));
    let Some(batch) = batches.next().await else { return Ok(()) };
    for n in batch {
        out.send(&RawKey::NONE, &n).await?;
    }
    Ok(())
}

#[test]
fn a_stop_commits_the_batch_of_an_agent_that_returned_early() {
    let (mut driver, worker) = start(App::new("failures").only::<hasty_batch>());
    for n in 0..2 {
        driver.send("in", &RawKey::NONE, &n).unwrap();
    }
    driver.run_until_idle();
    driver.stop(worker).unwrap();
    assert_eq!(driver.committed("in").unwrap().get(&0), Some(&Offset(2)));
    assert_eq!(outputs(&mut driver), [0, 1]);
}

/// Sends every number on.
#[agent(topic = "in")]
async fn relay(mut numbers: Stream<i64>, #[topic("out")] out: Topic<RawKey, i64>) -> Result<()> {
    while let Some(n) = numbers.next().await {
        out.send(&RawKey::NONE, &n).await?;
    }
    Ok(())
}

#[test]
fn messages_behind_a_refused_read_are_read_again() {
    let (mut driver, worker) = start(App::new("failures").only::<relay>().setting("agent_max_attempts", 100));
    // librdkafka drops the messages of a batch that are behind such an error.
    driver.cluster().set_faults(FaultProfile::default().with(ClusterFault::FetchRefused, 1.0));
    for n in 1..=10i64 {
        driver.send("in", &RawKey::NONE, &n).unwrap();
    }
    driver.run_until_idle();
    driver.cluster().set_faults(FaultProfile::default());
    driver.advance(Duration::from_secs(5));
    assert!(driver.status(worker).unwrap().counts.agent_failures > 0, "the read was refused");
    let all: std::collections::BTreeSet<_> = outputs(&mut driver).into_iter().collect();
    assert_eq!(all, (1..=10).collect(), "every number arrives");
    assert_eq!(driver.committed("in").unwrap()[&0], Offset(10));
}

/// Rests in every event behind a `group_by`, longer than the test takes.
#[agent(topic = "in")]
async fn regrouped(numbers: Stream<i64>, #[topic("out")] out: Topic<RawKey, i64>) -> Result<()> {
    let mut numbers = numbers.group_by("parity", |n| n % 2);
    while let Some(n) = numbers.next().await {
        if FIRST_RUN.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
        out.send(&RawKey::NONE, &n).await?;
    }
    Ok(())
}

static FIRST_RUN: AtomicU32 = AtomicU32::new(0);

#[test]
fn what_a_stage_has_forwarded_is_read_whatever_the_reset_policy() {
    let app = App::new("failures").only::<regrouped>().setting("consumer_auto_offset_reset", "latest");
    let (mut driver, worker) = start(app);
    for n in 0..5i64 {
        driver.send("in", &RawKey::NONE, &n).unwrap();
    }
    driver.advance(Duration::from_secs(20));
    assert_eq!(driver.committed("in").unwrap().get(&0), Some(&Offset(5)), "the first stage has committed");
    driver.crash(worker);
    driver.advance(Duration::from_secs(60));
    FIRST_RUN.store(1, Ordering::Relaxed);
    driver.start_worker().unwrap();
    driver.advance(Duration::from_secs(1));
    assert_eq!(outputs(&mut driver), [0, 1, 2, 3, 4]);
}

#[test]
fn without_a_commit_a_source_starts_by_the_reset_policy() {
    let app = |policy| App::new("failures").only::<fragile>().setting("consumer_auto_offset_reset", policy);
    for (policy, expected) in [("earliest", &[1i64, 2][..]), ("latest", &[2])] {
        let mut driver = TestDriver::new(app(policy)).unwrap();
        driver.create_topic("in", 1).unwrap();
        driver.send("in", &RawKey::NONE, &1i64).unwrap();
        driver.start_worker().unwrap();
        driver.send("in", &RawKey::NONE, &2i64).unwrap();
        driver.run_until_idle();
        assert_eq!(outputs(&mut driver), expected, "{policy}");
    }
    let (mut driver, worker) = start(app("none"));
    let Some(Err(error)) = driver.ended(worker) else { panic!("the worker is still running") };
    assert!(error.to_string().contains("`consumer_auto_offset_reset` is `none`"), "{error}");
}

/// Counts bytes behind a `group_by`.
#[agent(topic = "in")]
async fn sized(texts: Stream<String>, #[topic("out")] out: Topic<RawKey, i64>) -> Result<()> {
    let mut texts = texts.group_by("all", |_| 0);
    while let Some(text) = texts.next().await {
        out.send(&RawKey::NONE, &i64::try_from(text.len()).unwrap()).await?;
    }
    Ok(())
}

#[test]
fn a_large_event_passes_the_topics_that_the_app_creates() {
    let (mut driver, _) = start(App::new("failures").only::<sized>());
    let large = "x".repeat(2 << 20);
    driver.send("in", &RawKey::NONE, &large).unwrap();
    driver.run_until_idle();
    assert_eq!(outputs(&mut driver), [2 << 20]);
    let limit = "x".repeat((16 << 20) - 100);
    driver.send("in", &RawKey::NONE, &limit).unwrap();
    driver.run_until_idle();
    assert_eq!(outputs(&mut driver)[1..], [(16 << 20) - 100]);
}

#[test]
fn the_end_is_committed_if_no_message_follows_the_last_one() {
    let (mut driver, worker) = start(App::new("failures").only::<fragile>().setting("agent_max_attempts", 100));
    driver.send("in", &RawKey::NONE, &1i64).unwrap();
    driver.commit();
    driver.send("in", &RawKey::NONE, &13i64).unwrap();
    driver.send("in", &RawKey::NONE, &13i64).unwrap();
    driver.advance(Duration::from_secs(5));
    assert_eq!(driver.committed("in").unwrap().get(&0), Some(&Offset(1)), "the agent fails at offset 1");
    let before = BTreeMap::from([(TopicPartition::new("in", 0), Offset(3))]);
    driver.cluster().delete_records(before).now_or_never().unwrap().unwrap();
    driver.advance(Duration::from_secs(30));
    assert_eq!(driver.committed("in").unwrap().get(&0), Some(&Offset(3)), "offsets without messages count as read");
    assert_eq!(driver.status(worker).unwrap().counts.deleted_unread, 2);
    driver.send("in", &RawKey::NONE, &2i64).unwrap();
    driver.commit();
    assert_eq!((outputs(&mut driver).last(), driver.committed("in").unwrap().get(&0)), (Some(&2), Some(&Offset(4))));
    driver.stop(worker).unwrap();
}

#[test]
fn the_log_start_is_committed_if_all_unread_messages_were_deleted() {
    for policy in ["earliest", "latest"] {
        let app = App::new("failures").only::<fragile>().setting("consumer_auto_offset_reset", policy);
        let (mut driver, worker) = start(app);
        driver.send("in", &RawKey::NONE, &1i64).unwrap();
        driver.commit();
        driver.stop(worker).unwrap();
        (2..6i64).for_each(|number| driver.send("in", &RawKey::NONE, &number).unwrap());
        let before = BTreeMap::from([(TopicPartition::new("in", 0), Offset(5))]);
        driver.cluster().delete_records(before).now_or_never().unwrap().unwrap();
        // The second worker finds the commit of the first.
        for missed in [4, 0] {
            let worker = driver.start_worker().unwrap();
            driver.commit();
            assert_eq!(driver.status(worker).unwrap().counts.deleted_unread, missed, "{policy}");
            assert_eq!(driver.committed("in").unwrap()[&0], Offset(5), "{policy}");
            driver.stop(worker).unwrap();
        }
        assert_eq!(outputs(&mut driver), [1], "{policy}");
    }
}

thread_local! {
    /// Makes the next encoding of a value panic.
    static LIT: Cell<bool> = const { Cell::new(false) };
}

/// A value whose encoding can be made to panic.
#[derive(Clone, Default, serde::Deserialize)]
#[serde(crate = "faust::__private::serde")]
struct Explosive(i64);

impl serde::Serialize for Explosive {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(!LIT.take(), "the value cannot be encoded");
        self.0.serialize(serializer)
    }
}

#[agent(topic = "in")]
async fn exploding(mut numbers: Stream<i64, String>, last: Table<String, Explosive>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        last.set(event.key(), Explosive(*event.value()));
    }
    Ok(())
}

#[test]
fn a_panic_at_a_seal_stops_the_worker() {
    let (mut driver, worker) = start(App::new("failures").only::<exploding>());
    driver.send("in", &"a".to_owned(), &1i64).unwrap();
    driver.run_until_idle();
    // The event has ended; the next encoding is that of the seal.
    LIT.set(true);
    driver.advance(Duration::from_secs(5));
    let Some(Err(error)) = driver.ended(worker) else { panic!("the worker is still running") };
    assert_eq!(error.to_string(), "the task of in[0] panicked: the value cannot be encoded");
    driver.restart(worker).unwrap();
    driver.commit();
    assert_eq!(driver.committed("in").unwrap()[&0], Offset(1), "the next worker reads the event again");
}
