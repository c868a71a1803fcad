//! Groups: agents that use a table in common take turns and are sealed together, and no group delays another.

use std::cell::Cell;
use std::time::Duration;

use faust::prelude::*;
use faust::testing::{ClusterFault, FaultProfile, TestDriver, WorkerId};
use faust::{AppBuilder, Offset};

thread_local! {
    /// Number of agents that are inside an event with the table `totals`.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
}

/// Reads a total, waits, and writes it: without turns, changes of the other agent would be lost.
async fn add(totals: &Table<String, i64>, key: &str, value: i64, pause: Duration) {
    let before = totals.get(key);
    INSIDE.set(INSIDE.get() + 1);
    tokio::time::sleep(pause).await;
    assert_eq!(INSIDE.replace(INSIDE.get() - 1), 1, "two agents are inside an event");
    totals.set(key, before + value);
}

#[agent(topic = "in")]
async fn adds(mut numbers: Stream<i64, String>, totals: Table<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        add(&totals, event.key(), *event.value(), Duration::from_millis(7)).await;
    }
    Ok(())
}

#[agent(topic = "in")]
async fn adds_batches(numbers: Stream<i64, String>, totals: Table<String, i64>) -> Result<()> {
    let mut batches = numbers.take(3, Duration::from_millis(50));
    while let Some(batch) = batches.next_events().await {
        for event in batch {
            add(&totals, event.key(), *event.value(), Duration::from_millis(5)).await;
        }
    }
    Ok(())
}

/// Counts events in a table of its own.
#[agent(topic = "in")]
async fn counts(mut numbers: Stream<i64, String>, counted: Table<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        counted.update(event.key(), |count| *count += 1);
    }
    Ok(())
}

/// Awaits a timer in a loop, and reads an event only in between.
#[agent(topic = "in")]
async fn distracted(mut numbers: Stream<i64, String>, totals: Table<String, i64>) -> Result<()> {
    loop {
        tokio::select! {
            biased;
            event = numbers.next_event() => {
                let Some(event) = event else { return Ok(()) };
                totals.update(event.key(), |total| *total += event.value());
            }
            () = tokio::time::sleep(Duration::from_millis(3)) => tokio::time::sleep(Duration::from_secs(40)).await,
        }
    }
}

fn start(app: AppBuilder) -> (TestDriver, WorkerId) {
    INSIDE.set(0);
    let app = app.setting("topic_partitions", 1).setting("broker_commit_interval", "1s");
    let mut driver = TestDriver::new(app).unwrap();
    let worker = driver.start_worker().unwrap();
    (driver, worker)
}

fn send(driver: &mut TestDriver, values: impl IntoIterator<Item = i64>) {
    values.into_iter().for_each(|value| driver.send("in", &"a".to_owned(), &value).unwrap());
    driver.run_until_idle();
}

fn total(driver: &TestDriver, table: &str) -> i64 {
    driver.table::<String, i64>(table).unwrap().find("a").unwrap_or_default()
}

fn position(driver: &mut TestDriver, agent: &str) -> Option<i64> {
    driver.positions("in", agent).unwrap().get(&0).map(|offset| offset.0)
}

/// Law (R1): of the agents that write a table, one at a time is inside an event, and all make progress.
#[test]
fn agents_of_one_table_take_turns() {
    let (mut driver, worker) = start(App::new("groups").only::<adds>().agent::<adds_batches>());
    send(&mut driver, 1..=30);
    driver.advance(Duration::from_millis(100));
    let halfway = total(&driver, "totals");
    assert!((20..400).contains(&halfway), "both agents have begun, and neither is done: {halfway}");
    driver.advance(Duration::from_secs(2));
    assert_eq!(total(&driver, "totals"), 2 * 30 * 31 / 2);
    driver.restart(worker).unwrap();
    send(&mut driver, [100]);
    driver.advance(Duration::from_secs(2));
    assert_eq!(total(&driver, "totals"), 2 * 30 * 31 / 2 + 200);
}

/// Law (R1): an agent that awaits something other than its stream keeps no turn.
#[test]
fn an_agent_that_awaits_a_timer_holds_no_other_of_its_group() {
    let (mut driver, _) = start(App::new("groups").only::<adds>().agent::<distracted>());
    driver.advance(Duration::from_secs(1));
    send(&mut driver, 1..=10);
    driver.advance(Duration::from_secs(1));
    assert_eq!(total(&driver, "totals"), 55, "one agent has added everything while the other sleeps");
    driver.advance(Duration::from_secs(60));
    assert_eq!(total(&driver, "totals"), 110);
}

thread_local! {
    static FAILURES: Cell<u32> = const { Cell::new(0) };
}

/// Fails at 13 as often as [`FAILURES`] says, and sends everything else.
#[agent(topic = "in")]
async fn superstitious(mut numbers: Stream<i64, String>, #[topic("out")] out: Topic<String, i64>) -> Result<()> {
    while let Some(number) = numbers.next().await {
        if number == 13 && FAILURES.get() > 0 {
            FAILURES.set(FAILURES.get() - 1);
            return Err("13".into());
        }
        out.send(&"a".to_owned(), &number).await?;
    }
    Ok(())
}

fn outputs(driver: &mut TestDriver, value: i64) -> usize {
    driver.read::<String, i64>("out").unwrap().iter().filter(|(_, sent)| *sent == value).count()
}

/// Law (R4): the outputs of the events before a failing one repeat at most once, however often it fails.
#[test]
fn events_before_a_failing_one_are_not_repeated_with_each_attempt() {
    let app = App::new("groups").only::<superstitious>().setting("agent_max_attempts", 1000);
    let app = app.setting("agent_backoff_max", "1s");
    let (mut driver, _) = start(app);
    FAILURES.set(50);
    // No commit happens meanwhile: the events are sealed off all the same.
    driver.cluster().hold_commits();
    send(&mut driver, (100..200).chain([13]).chain(200..300));
    driver.advance(Duration::from_secs(100));
    driver.cluster().release_commits();
    driver.commit();
    assert_eq!(FAILURES.get(), 0);
    let repeated: Vec<_> = (100..200).filter(|value| outputs(&mut driver, *value) > 2).collect();
    assert!(repeated.is_empty(), "sent more than twice: {repeated:?}");
    assert_eq!((outputs(&mut driver, 13), outputs(&mut driver, 250)), (1, 1));
    driver.commit();
    assert_eq!(position(&mut driver, "superstitious"), Some(201));
}

/// Law (R4): an agent that fails restarts no agent of another group, and the others are committed meanwhile.
#[test]
fn a_failing_agent_stops_no_other_group() {
    let app = App::new("groups").only::<superstitious>().agent::<counts>().agent::<adds>();
    let (mut driver, worker) = start(app.setting("agent_max_attempts", 1_000_000).setting("agent_backoff_max", "1s"));
    FAILURES.set(u32::MAX);
    send(&mut driver, [1, 13, 2, 3]);
    driver.advance(Duration::from_secs(30));
    send(&mut driver, [4]);
    driver.advance(Duration::from_secs(30));
    assert_eq!((total(&driver, "counted"), total(&driver, "totals")), (5, 23));
    let of_all = ["superstitious", "counts", "adds"].map(|agent| position(&mut driver, agent));
    assert_eq!(of_all, [Some(1), Some(5), Some(5)]);
    assert!(driver.status(worker).unwrap().counts.agent_failures > 20);
    // A restart resumes each agent where it was.
    driver.restart(worker).unwrap();
    FAILURES.set(0);
    driver.advance(Duration::from_secs(30));
    assert_eq!((total(&driver, "counted"), total(&driver, "totals")), (5, 23));
    // The event before the failing one was sent again at the first attempt only.
    assert_eq!([1, 13, 2, 3, 4].map(|value| outputs(&mut driver, value)), [2, 1, 1, 1, 1]);
}

/// Reads its stream in a Tokio task of its own.
#[agent(topic = "in")]
async fn spawns(mut numbers: Stream<i64, String>) -> Result<()> {
    let reading = tokio::spawn(async move { while numbers.next().await.is_some() {} });
    reading.await?;
    Ok(())
}

/// Reads the first event itself, and all others in a Tokio task of their own.
#[agent(topic = "in")]
async fn spawns_later(mut numbers: Stream<i64, String>) -> Result<()> {
    numbers.next().await;
    let reading = tokio::spawn(async move { while numbers.next().await.is_some() {} });
    reading.await?;
    Ok(())
}

#[test]
fn a_stream_that_another_tokio_task_reads_later_is_an_error_too() {
    let (mut driver, worker) = start(App::new("groups").only::<spawns_later>());
    send(&mut driver, [1, 2]);
    driver.advance(Duration::from_secs(10));
    let Some(Err(error)) = driver.ended(worker) else { panic!("the worker is still running") };
    let text = error.to_string();
    assert!(text.contains("another Tokio task") && text.contains("events()"), "{text}");
}

#[test]
fn a_stream_that_another_tokio_task_reads_is_an_error() {
    let mut driver = TestDriver::new(App::new("groups").only::<spawns>()).unwrap();
    let text = driver.start_worker().unwrap_err().to_string();
    assert!(text.contains("another Tokio task") && text.contains("events()"), "{text}");
}

/// Only reads.
#[agent(topic = "in")]
async fn reads(mut numbers: Stream<i64, String>) -> Result<()> {
    while numbers.next().await.is_some() {}
    Ok(())
}

/// Law (R2): a commit leaves out the group of which a message was not delivered, and contains the others.
#[test]
fn a_message_that_is_not_delivered_stops_no_other_group() {
    let (mut driver, _) = start(App::new("groups").only::<superstitious>().agent::<reads>());
    send(&mut driver, [1, 2]);
    driver.commit();
    driver.cluster().set_faults(FaultProfile::default().with(ClusterFault::FailedSend, 1.0));
    send(&mut driver, [3, 4]);
    driver.advance(Duration::from_secs(20));
    assert_eq!(["superstitious", "reads"].map(|agent| position(&mut driver, agent)), [Some(2), Some(4)]);
    assert_eq!(driver.committed("in").unwrap().get(&0), Some(&Offset(2)));
    driver.cluster().set_faults(FaultProfile::default());
    driver.advance(Duration::from_secs(20));
    assert_eq!([1, 2, 3, 4].map(|value| outputs(&mut driver, value)), [1; 4]);
    assert_eq!(driver.committed("in").unwrap().get(&0), Some(&Offset(4)));
}
