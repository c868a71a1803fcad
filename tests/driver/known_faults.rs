//! Faults that are known and not mended yet, each under its number with a scenario that shows it.
//!
//! The test asserts that each scenario fails. When one is mended, its scenario becomes a test of its own.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use faust::__private::serde;
use faust::prelude::*;
use faust::testing::{ClusterFault, FaultProfile, TestDriver, WorkerId};
use faust::{AppBuilder, Offset};

/// A scenario. The error describes what went wrong.
type Scenario = fn() -> Result<(), String>;

const KNOWN: &[(&str, Scenario)] = &[
    ("F1: a worker commits for partitions that it has lost", commit_of_a_former_owner),
    ("F6: a panic outside an agent's future ends a partition silently", panic_at_a_seal),
    ("F7: an agent in a long event stops its neighbours", long_event_beside_a_fast_agent),
    ("F9: one refused partition stops all commits", commits_beside_a_deleted_topic),
    ("F10: values that cannot be read back", values_that_cannot_be_read_back),
    ("F11: an event ahead of the clock stops the worker", event_ahead_of_the_clock),
    ("F26: a read with a key of another partition is silent", read_with_a_misplaced_key),
    ("F28: a task with two topics, one of whose commits is refused, counts twice", two_topics_and_one_refused_commit),
    ("R5: changelog records of a former owner become valid", records_of_a_former_owner),
];

#[test]
fn the_known_faults_are_not_mended() {
    let outcomes: Vec<_> = KNOWN.iter().map(|(fault, scenario)| (fault, scenario())).collect();
    for (fault, outcome) in &outcomes {
        println!("{fault}: {}", outcome.as_ref().err().map_or("MENDED", String::as_str));
    }
    let mended: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(fault, _)| fault).collect();
    assert!(mended.is_empty(), "make the scenarios of these faults tests, and remove them from the list: {mended:#?}");
}

thread_local! {
    /// Makes the next event take 12 seconds.
    static SLOW: Cell<bool> = const { Cell::new(false) };
}

#[agent(topic = "in")]
async fn summing(mut numbers: Stream<i64, String>, sums: Table<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        if SLOW.take() {
            tokio::time::sleep(Duration::from_secs(12)).await;
        }
        sums.update(event.key(), |sum| *sum += event.value());
    }
    Ok(())
}

fn driver(app: AppBuilder) -> TestDriver {
    let app = app.setting("topic_partitions", 1).setting("broker_commit_interval", "500ms");
    SLOW.set(false);
    TestDriver::new(app).unwrap()
}

fn send(driver: &mut TestDriver, count: usize) {
    for _ in 0..count {
        driver.send("in", &"a".to_owned(), &1i64).unwrap();
    }
    driver.run_until_idle();
}

fn committed(driver: &mut TestDriver) -> Option<Offset> {
    driver.committed("in").unwrap().get(&0).copied()
}

fn sum(driver: &TestDriver) -> Option<i64> {
    driver.table::<String, i64>("sums").unwrap().find("a")
}

/// Crashes the workers, and starts one that restores all tables from their changelogs.
fn restored(driver: &mut TestDriver, workers: &[WorkerId]) -> Result<WorkerId, String> {
    workers.iter().for_each(|worker| driver.crash(*worker));
    driver.advance(Duration::from_secs(60));
    driver.start_worker().map_err(|error| error.to_string())
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, actual: T, expected: T) -> Result<(), String> {
    if actual == expected { Ok(()) } else { Err(format!("{what}: {actual:?} instead of {expected:?}")) }
}

fn commit_of_a_former_owner() -> Result<(), String> {
    let app =
        App::new("known").only::<summing>().setting("topic_partitions", 2).setting("broker_commit_interval", "500ms");
    SLOW.set(false);
    let mut driver =
        TestDriver::new(app.setting("shutdown_timeout", "60s").setting("broker_rebalance_timeout", "1s")).unwrap();
    // The key belongs to partition 1, which a second worker receives.
    let send = |driver: &mut TestDriver, count| {
        for _ in 0..count {
            driver.send("in", &"d".to_owned(), &1i64).unwrap();
        }
        driver.run_until_idle();
    };
    let committed = |driver: &mut TestDriver| driver.committed("in").unwrap().get(&1).copied();
    let first = driver.start_worker().unwrap();
    send(&mut driver, 6);
    driver.commit();
    SLOW.set(true);
    send(&mut driver, 1);
    // The first worker is inside an event for longer than the rebalance waits for it.
    let faults = FaultProfile::default().with(ClusterFault::ImpatientRebalance, 1.0);
    driver.cluster().set_faults(faults.with(ClusterFault::CommitByFormerOwner, 1.0));
    driver.begin_stop(first);
    driver.start_worker().unwrap();
    driver.advance(Duration::from_secs(2));
    send(&mut driver, 9);
    driver.commit();
    let before = committed(&mut driver);
    assert_eq!(before, Some(Offset(16)), "the second worker has processed everything");
    // The first worker returns from its event, and the second one has not committed again.
    let mut lowest = before;
    for _ in 0..150 {
        driver.advance(Duration::from_millis(100));
        lowest = lowest.min(committed(&mut driver));
    }
    expect("the lowest committed offset", lowest, before)
}

fn records_of_a_former_owner() -> Result<(), String> {
    let mut driver = driver(App::new("known").only::<summing>());
    let workers = [driver.start_worker().unwrap(), driver.start_worker().unwrap()];
    send(&mut driver, 6);
    driver.commit();
    let owner = workers.into_iter().find(|worker| !driver.assignment(*worker).is_empty()).unwrap();
    SLOW.set(true);
    send(&mut driver, 1);
    // The owner does not learn that it has been expelled until it has finished its event and sealed its table.
    assert!(driver.expel(owner, Duration::from_secs(20)));
    driver.run_until_idle();
    send(&mut driver, 9);
    driver.commit();
    assert_eq!(committed(&mut driver), Some(Offset(16)), "the other worker has processed everything");
    driver.advance(Duration::from_secs(25));
    restored(&mut driver, &workers)?;
    expect("the sum of 16 events after a restore", sum(&driver), Some(16))
}

/// A value that cannot be encoded when it is 13.
#[derive(Clone, Default, serde::Deserialize)]
#[serde(crate = "faust::__private::serde")]
struct Explosive(i64);

impl serde::Serialize for Explosive {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert_ne!(self.0, 13, "thirteen cannot be encoded");
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

fn panic_at_a_seal() -> Result<(), String> {
    let mut driver = driver(App::new("known").only::<exploding>());
    let worker = driver.start_worker().unwrap();
    driver.send("in", &"a".to_owned(), &13i64).unwrap();
    driver.advance(Duration::from_secs(2));
    send(&mut driver, 5);
    driver.advance(Duration::from_secs(30));
    let is_silent = driver.status(worker).is_some_and(|status| status.ready && status.counts.agent_failures == 0);
    let is_reported = driver.ended(worker).is_some() || !is_silent;
    if is_reported || committed(&mut driver) == Some(Offset(6)) {
        return Ok(());
    }
    Err(format!("the worker is ready, and has committed {:?} of 6 events", committed(&mut driver)))
}

#[agent(topic = "in")]
async fn lingering(mut numbers: Stream<i64, String>) -> Result<()> {
    while numbers.next().await.is_some() {
        if SLOW.take() {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    }
    Ok(())
}

#[agent(topic = "in")]
async fn brisk(mut numbers: Stream<i64, String>, #[topic("out")] out: Topic<RawKey, i64>) -> Result<()> {
    while let Some(number) = numbers.next().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
        out.send(&RawKey::NONE, &number).await?;
    }
    Ok(())
}

fn long_event_beside_a_fast_agent() -> Result<(), String> {
    let mut driver = driver(App::new("known").only::<lingering>().only::<brisk>());
    driver.start_worker().unwrap();
    SLOW.set(true);
    send(&mut driver, 3000);
    // One event takes 10 ms. A tenth of the time is allowed for commits.
    driver.advance(Duration::from_secs(20));
    let done = driver.messages("out").unwrap().len();
    if done >= 1800 { Ok(()) } else { Err(format!("{done} events instead of 2000 in 20 s")) }
}

#[agent(topic = "other")]
async fn other(mut numbers: Stream<i64, String>) -> Result<()> {
    while numbers.next().await.is_some() {}
    Ok(())
}

fn commits_beside_a_deleted_topic() -> Result<(), String> {
    let mut driver = driver(App::new("known").only::<summing>().only::<other>());
    driver.start_worker().unwrap();
    send(&mut driver, 3);
    driver.send("other", &"a".to_owned(), &1i64).unwrap();
    driver.commit();
    driver.send("other", &"a".to_owned(), &2i64).unwrap();
    driver.run_until_idle();
    driver.delete_topic("other").unwrap();
    for key in 'b'..'l' {
        driver.send("in", &key.to_string(), &1i64).unwrap();
        driver.commit();
    }
    // The changes of a commit that is not confirmed are written again with the next.
    let records = driver.messages("known-sums-changelog").unwrap().len();
    expect("the changelog records for 11 changes", records, 11)
}

/// Stores values of types whose JSON is ambiguous.
#[agent(topic = "in")]
async fn storing(
    mut numbers: Stream<i64, String>,
    highest: Table<String, faust::aggregate::Max<f64>>,
    names: Table<String, Option<String>>,
) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        highest.update(event.key(), |_| ());
        names.set(event.key(), None);
    }
    Ok(())
}

fn values_that_cannot_be_read_back() -> Result<(), String> {
    let mut driver = driver(App::new("known").only::<storing>());
    let worker = driver.start_worker().unwrap();
    send(&mut driver, 1);
    driver.commit();
    let worker = restored(&mut driver, &[worker])?;
    send(&mut driver, 1);
    driver.advance(Duration::from_secs(10));
    if let Some(Err(error)) = driver.ended(worker) {
        return Err(error.to_string());
    }
    let name = driver.table::<String, Option<String>>("names").unwrap().find("a");
    expect("a stored `None`", name, Some(None))
}

#[record(timestamp = at)]
struct Reading {
    sensor: String,
    at: i64,
}

#[agent(topic = "readings")]
async fn reading(readings: Stream<Reading>, #[topic("out")] out: Topic<RawKey, i64>) -> Result<()> {
    let mut readings = readings.group_by("sensor", |reading| reading.sensor.clone());
    while let Some(reading) = readings.next().await {
        out.send(&RawKey::NONE, &reading.at).await?;
    }
    Ok(())
}

fn event_ahead_of_the_clock() -> Result<(), String> {
    let mut driver = driver(App::new("known").only::<reading>());
    let worker = driver.start_worker().unwrap();
    let now = driver.now().as_millis();
    for at in [now, now + 2 * 60 * 60 * 1000, now + 1] {
        let reading = Reading { sensor: "a".to_owned(), at };
        driver.send_with("readings", &RawKey::NONE, &reading, |message| message.timestamp(Timestamp(now))).unwrap();
    }
    driver.advance(Duration::from_secs(30));
    if let Some(Err(error)) = driver.ended(worker) {
        return Err(error.to_string());
    }
    expect("events behind the repartition", driver.messages("out").unwrap().len(), 3)
}

/// Reads the entry of the other of two keys.
#[agent(topic = "in")]
async fn joining(mut numbers: Stream<i64, String>, sums: Table<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        for other in ('a'..='z').map(String::from) {
            sums.get(&other);
        }
        sums.update(event.key(), |sum| *sum += event.value());
    }
    Ok(())
}

fn read_with_a_misplaced_key() -> Result<(), String> {
    let mut driver = driver(App::new("known").only::<joining>().setting("topic_partitions", 3));
    let worker = driver.start_worker().unwrap();
    send(&mut driver, 1);
    driver.commit();
    let misplaced = driver.status(worker).unwrap().counts.misplaced_keys;
    if misplaced > 0 { Ok(()) } else { Err("no misplaced key is counted".to_owned()) }
}

#[agent(topics = ["in", "other"])]
async fn both(mut numbers: Stream<i64, String>, sums: Table<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        sums.update(event.key(), |sum| *sum += event.value());
    }
    Ok(())
}

fn two_topics_and_one_refused_commit() -> Result<(), String> {
    let mut refused = BTreeSet::new();
    for seed in 0..8 {
        let app = App::new("known").only::<both>().setting("topic_partitions", 1);
        let mut driver = TestDriver::seeded(app.setting("broker_commit_interval", "500ms"), seed).unwrap();
        let worker = driver.start_worker().unwrap();
        send(&mut driver, 1);
        driver.send("other", &"a".to_owned(), &1i64).unwrap();
        driver.run_until_idle();
        driver.cluster().set_faults(FaultProfile::default().with(ClusterFault::PartialCommit, 1.0));
        driver.commit();
        refused.insert(committed(&mut driver).is_none());
        driver.cluster().set_faults(FaultProfile::default());
        restored(&mut driver, &[worker])?;
        driver.commit();
        expect("the sum of two events after a restore", sum(&driver), Some(2))?;
    }
    assert_eq!(refused.len(), 2, "each of the topics was refused in some run");
    Ok(())
}
