//! The timing of commits, and the offsets they contain.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use faust::Offset;
use faust::prelude::*;
use faust::testing::TestDriver;

use super::harness::at_least_once;

/// Sleeps for each value, in milliseconds.
#[agent(topic = "work")]
async fn slow(mut work: Stream<u64>, #[topic("done")] done: Topic<RawKey, u64>) -> Result<()> {
    while let Some(millis) = work.next().await {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        done.send(&RawKey::NONE, &millis).await?;
    }
    Ok(())
}

/// Reads the same topic without delay.
#[agent(topic = "work")]
async fn fast(mut work: Stream<u64>, #[topic("seen")] seen: Topic<RawKey, u64>) -> Result<()> {
    while let Some(millis) = work.next().await {
        seen.send(&RawKey::NONE, &millis).await?;
    }
    Ok(())
}

fn one_partition(app: faust::AppBuilder) -> TestDriver {
    let mut driver = TestDriver::new(app.setting("topic_partitions", 1)).unwrap();
    driver.start_worker().unwrap();
    driver
}

fn send(driver: &mut TestDriver, values: &[u64]) {
    for value in values {
        driver.send("work", &RawKey::NONE, value).unwrap();
    }
    driver.run_until_idle();
}

fn sent(driver: &mut TestDriver, topic: &str) -> Vec<u64> {
    driver.read::<RawKey, u64>(topic).unwrap().into_iter().map(|(_, value)| value).collect()
}

fn committed(driver: &mut TestDriver) -> Option<i64> {
    driver.committed("work").unwrap().get(&0).map(|offset| offset.0)
}

#[test]
fn a_commit_waits_for_no_agent() {
    let mut driver = one_partition(at_least_once("cuts").only::<slow>());
    send(&mut driver, &[0, 4000, 0]);
    // The commit is due after 2.8 s, in the middle of the second event, and nothing was sealed before.
    driver.advance(Duration::from_millis(3900));
    assert_eq!((committed(&mut driver), sent(&mut driver, "done")), (None, vec![0]));
    driver.advance(Duration::from_millis(200));
    assert_eq!((committed(&mut driver), sent(&mut driver, "done")), (None, vec![0, 4000, 0]));
    driver.commit();
    assert_eq!(committed(&mut driver), Some(3));
}

#[test]
fn a_stop_begins_no_event_while_a_commit_is_in_progress() {
    let mut driver = TestDriver::new(at_least_once("cuts").only::<slow>().setting("topic_partitions", 1)).unwrap();
    let worker = driver.start_worker().unwrap();
    send(&mut driver, &[4000, 1, 1]);
    // Both the commit and the shutdown wait for the event.
    driver.advance(Duration::from_millis(3000));
    driver.stop(worker).unwrap();
    assert_eq!((committed(&mut driver), sent(&mut driver, "done")), (Some(1), vec![4000]));
}

#[test]
fn a_commit_without_a_new_seal_of_an_agent_is_counted() {
    let mut driver = TestDriver::new(at_least_once("cuts").only::<slow>().setting("topic_partitions", 1)).unwrap();
    let worker = driver.start_worker().unwrap();
    send(&mut driver, &[0, 20_000, 0]);
    driver.advance(Duration::from_secs(15));
    assert!(driver.status(worker).unwrap().counts.seals_missed >= 4);
    assert_eq!(committed(&mut driver), None, "a seal is never taken inside an event");
    driver.advance(Duration::from_secs(10));
    assert_eq!(committed(&mut driver), Some(3));
}

#[test]
fn nothing_is_committed_before_sent_messages_are_delivered() {
    let mut driver = one_partition(at_least_once("cuts").only::<fast>());
    driver.cluster().hold_deliveries();
    driver.send("work", &RawKey::NONE, &1u64).unwrap();
    driver.commit();
    driver.commit();
    assert_eq!((committed(&mut driver), sent(&mut driver, "seen")), (None, vec![1]));
    driver.cluster().release_deliveries();
    driver.commit();
    assert_eq!(committed(&mut driver), Some(1));
}

#[test]
fn the_committed_offset_is_the_slowest_agents_and_the_fast_one_repeats_nothing() {
    let mut driver =
        TestDriver::new(at_least_once("cuts").only::<slow>().agent::<fast>().setting("topic_partitions", 1)).unwrap();
    let worker = driver.start_worker().unwrap();
    send(&mut driver, &[1000, 1000, 1000, 1000, 1000, 1000]);
    driver.advance(Duration::from_millis(3100));
    assert_eq!(committed(&mut driver), Some(2), "the slow agent had finished two when it was sealed");
    assert_eq!(sent(&mut driver, "seen").len(), 6);
    driver.restart(worker).unwrap();
    driver.advance(Duration::from_secs(10));
    assert_eq!(sent(&mut driver, "seen").len(), 6, "the fast agent resumes at its own position");
    assert!(sent(&mut driver, "done").len() >= 6);
    assert_eq!(committed(&mut driver), Some(6));
}

#[test]
fn a_fast_agent_is_not_held_up_by_a_slow_one() {
    let app = at_least_once("cuts").only::<slow>().agent::<fast>().setting("stream_buffer_maxsize", 100);
    let mut driver = one_partition(app);
    let mut work = vec![60_000];
    work.resize(4000, 0);
    send(&mut driver, &work);
    driver.commit();
    assert_eq!((sent(&mut driver, "seen"), sent(&mut driver, "done").len()), (work.clone(), 0));
    // The slow agent reads again what was not kept for it.
    driver.advance(Duration::from_secs(70));
    assert_eq!((sent(&mut driver, "done"), committed(&mut driver)), (work.clone(), Some(4000)));
    assert_eq!(sent(&mut driver, "seen"), work, "the fast agent has read nothing twice");
}

/// Takes ten milliseconds for each event.
#[agent(topic = "work")]
async fn brisk(mut work: Stream<u64>, #[topic("seen")] seen: Topic<RawKey, u64>) -> Result<()> {
    while let Some(millis) = work.next().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
        seen.send(&RawKey::NONE, &millis).await?;
    }
    Ok(())
}

#[test]
fn an_agent_in_a_long_event_takes_no_time_from_its_neighbours() {
    let mut driver = one_partition(at_least_once("cuts").only::<slow>().agent::<brisk>());
    let mut work = vec![60_000];
    work.resize(3000, 0);
    send(&mut driver, &work);
    driver.advance(Duration::from_secs(20));
    let done = sent(&mut driver, "seen").len();
    assert!(done >= 1980, "{done} events instead of 2000 in 20 s, with seven commits");
}

/// Acknowledges every event except the third, and the second only after the fourth.
#[agent(topic = "work")]
async fn picky(work: Stream<u64>) {
    let mut events = work.events();
    let mut kept = Vec::new();
    while let Some(event) = events.next().await {
        match event.value() {
            2 | 3 => kept.push(event),
            4 => {
                event.ack();
                kept.remove(0).ack();
            }
            _ => event.ack(),
        }
    }
    // Returning would acknowledge the pending events: an agent that returns has finished all of its events.
    std::future::pending::<()>().await;
}

#[test]
fn an_event_that_is_not_acked_holds_the_committed_offset() {
    let mut driver = one_partition(at_least_once("cuts").only::<picky>());
    for (value, expected) in [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)] {
        send(&mut driver, &[value]);
        driver.commit();
        assert_eq!(committed(&mut driver), Some(expected), "after {value}");
    }
}

static TICKS: AtomicU64 = AtomicU64::new(0);

/// Runs a timer every second alongside its events.
#[agent(topic = "work")]
async fn ticking(mut work: Stream<u64>, #[topic("seen")] seen: Topic<RawKey, u64>) -> Result<()> {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            value = work.next() => match value {
                Some(value) => seen.send(&RawKey::NONE, &value).await?,
                None => return Ok(()),
            },
            _ = tick.tick() => { TICKS.fetch_add(1, Ordering::Relaxed); }
        }
    }
}

#[test]
fn next_in_a_select_loses_and_repeats_nothing() {
    let mut driver = one_partition(at_least_once("cuts").only::<ticking>());
    for value in 0..20 {
        send(&mut driver, &[value]);
        driver.advance(Duration::from_millis(700));
    }
    assert!(TICKS.load(Ordering::Relaxed) >= 13, "{TICKS:?}");
    assert_eq!(sent(&mut driver, "seen"), (0..20).collect::<Vec<_>>());
    driver.commit();
    assert_eq!(committed(&mut driver), Some(20));
}

/// Reads its first event singly, then batches.
#[agent(topic = "work")]
async fn peeking(mut work: Stream<u64>, #[topic("sizes")] sizes: Topic<RawKey, usize>) -> Result<()> {
    work.next().await;
    let mut batches = work.take(3, Duration::MAX);
    while let Some(batch) = batches.next().await {
        sizes.send(&RawKey::NONE, &batch.len()).await?;
    }
    Ok(())
}

#[test]
fn a_stream_can_be_batched_after_its_first_event() {
    let mut driver = one_partition(at_least_once("cuts").only::<peeking>());
    send(&mut driver, &[0, 1, 2, 3, 4, 5, 6]);
    driver.commit();
    assert_eq!(sent(&mut driver, "sizes"), [3, 3]);
    assert_eq!(committed(&mut driver), Some(7), "the first event and both batches are done");
}

/// Takes a second per event in an operator, before the agent receives it.
#[agent(topic = "work")]
async fn preparing(work: Stream<u64>, #[topic("seen")] seen: Topic<RawKey, u64>) -> Result<()> {
    let mut work = work.echo("begun").then(|value| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        value
    });
    while let Some(value) = work.next().await {
        seen.send(&RawKey::NONE, &value).await?;
    }
    Ok(())
}

#[test]
fn an_event_in_an_operator_is_finished_before_a_worker_stops() {
    let mut driver = TestDriver::new(at_least_once("cuts").only::<preparing>().setting("topic_partitions", 1)).unwrap();
    let worker = driver.start_worker().unwrap();
    send(&mut driver, &[1, 2, 3]);
    driver.advance(Duration::from_millis(1500));
    assert_eq!((sent(&mut driver, "begun"), sent(&mut driver, "seen")), (vec![1, 2], vec![1]));
    driver.stop(worker).unwrap();
    assert_eq!((sent(&mut driver, "begun"), sent(&mut driver, "seen")), (vec![1, 2], vec![1, 2]));
    assert_eq!(committed(&mut driver), Some(2));
    driver.start_worker().unwrap();
    driver.advance(Duration::from_secs(2));
    assert_eq!((sent(&mut driver, "begun"), sent(&mut driver, "seen")), (vec![1, 2, 3], vec![1, 2, 3]));
}

/// Sends each number on, and counts.
#[agent(topic = "in")]
async fn sending(
    mut numbers: Stream<i64, String>,
    sent: Table<String, i64>,
    #[topic("out")] out: Topic<RawKey, i64>,
) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        sent.update(event.key(), |count| *count += 1);
        out.send(&RawKey::NONE, event.value()).await?;
    }
    Ok(())
}

/// Sends nothing.
#[agent(topic = "in")]
async fn silent(mut numbers: Stream<i64, String>) {
    while numbers.next().await.is_some() {}
}

/// Law: messages that are late delay the commits of no other agent, and are not sent again for that.
#[test]
fn late_messages_delay_no_commit_of_another_agent() {
    let app = at_least_once("cuts").only::<sending>().agent::<silent>().setting("topic_partitions", 1);
    let mut driver = TestDriver::new(app).unwrap();
    let worker = driver.start_worker().unwrap();
    let position = |driver: &mut TestDriver, agent: &str| driver.positions("in", agent).unwrap().get(&0).copied();
    let send = |driver: &mut TestDriver, numbers: std::ops::Range<i64>| {
        numbers.for_each(|number| driver.send("in", &"k".to_owned(), &number).unwrap());
        driver.advance(Duration::from_secs(10));
    };
    send(&mut driver, 0..2);
    driver.cluster().hold_deliveries();
    send(&mut driver, 2..5);
    send(&mut driver, 5..8);
    assert_eq!(position(&mut driver, "silent"), Some(Offset(8)));
    assert_eq!(position(&mut driver, "sending"), Some(Offset(2)));
    driver.cluster().release_deliveries();
    driver.advance(Duration::from_secs(10));
    assert_eq!(position(&mut driver, "sending"), Some(Offset(8)));
    let changes = driver.messages("cuts-sent-changelog").unwrap().len();
    assert!(changes <= 3, "{changes} changes are sent for three commits");
    let out: Vec<_> = driver.read::<RawKey, i64>("out").unwrap().into_iter().map(|(_, number)| number).collect();
    assert_eq!(out, (0..8).collect::<Vec<_>>());
    // The late seal was committed under its own number.
    driver.crash(worker);
    driver.lose_disk(worker).unwrap();
    driver.advance(Duration::from_secs(60));
    driver.start_worker().unwrap();
    driver.advance(Duration::from_secs(10));
    assert_eq!(driver.table::<String, i64>("sent").unwrap().find("k"), Some(8));
    assert_eq!(position(&mut driver, "sending"), Some(Offset(8)));
}

/// Writes as many keys as the event says, from that number on.
#[agent(topic = "work")]
async fn flooding(mut work: Stream<u64>, #[table(name = "flood")] flood: Table<u64, bool>) -> Result<()> {
    while let Some(keys) = work.next().await {
        (keys..2 * keys).for_each(|key| flood.set(&key, true));
    }
    Ok(())
}

/// Law: the memory for changes that cannot be sent is bounded, however often a commit is due.
#[test]
fn streams_wait_if_too_much_changes_while_messages_are_late() {
    let app = at_least_once("cuts").only::<flooding>();
    let mut driver = one_partition(app.setting("broker_commit_interval", "500ms"));
    let flood = |driver: &TestDriver| driver.table::<u64, bool>("flood").unwrap().len();
    driver.cluster().hold_deliveries();
    send(&mut driver, &[1]);
    driver.advance(Duration::from_secs(1));
    send(&mut driver, &[1_000_000]);
    driver.advance(Duration::from_secs(5));
    send(&mut driver, &[2]);
    assert_eq!(flood(&driver), 1_000_001);
}
