//! Several workers: sharing partitions, leaving the group, crashing.

use std::collections::BTreeMap;
use std::time::Duration;

use faust::Offset;
use faust::prelude::*;
use faust::testing::{ClusterFault, FaultProfile, TestDriver};

use super::harness::at_least_once;

#[agent(topic = "in")]
async fn copy(mut numbers: Stream<i64, String>, #[topic("out")] out: Topic<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        out.send(event.key(), event.value()).await?;
    }
    Ok(())
}

fn driver() -> TestDriver {
    TestDriver::new(App::new("workers").only::<copy>()).unwrap()
}

fn feed(driver: &mut TestDriver, range: std::ops::Range<i64>) {
    for n in range {
        driver.send("in", &format!("k{}", n % 50), &n).unwrap();
    }
    driver.run_until_idle();
}

fn counts(driver: &mut TestDriver) -> BTreeMap<i64, usize> {
    let mut counts = BTreeMap::new();
    for (_, n) in driver.read::<String, i64>("out").unwrap() {
        *counts.entry(n).or_default() += 1;
    }
    counts
}

#[test]
fn workers_share_the_partitions_and_a_hand_over_repeats_nothing() {
    let mut driver = driver();
    let first = driver.start_worker().unwrap();
    assert_eq!(driver.assignment(first).len(), 8);
    feed(&mut driver, 0..100);
    let second = driver.start_worker().unwrap();
    let (a, b) = (driver.assignment(first), driver.assignment(second));
    assert_eq!((a.len(), b.len()), (4, 4));
    assert!(a.iter().all(|partition| !b.contains(partition)));
    feed(&mut driver, 100..200);
    driver.stop(first).unwrap();
    assert_eq!(driver.assignment(second).len(), 8);
    feed(&mut driver, 200..300);
    let counts = counts(&mut driver);
    assert_eq!(counts.len(), 300);
    assert!(counts.values().all(|&n| n == 1), "a graceful rebalance commits all finished events");
}

#[test]
fn uncommitted_events_of_a_crashed_worker_are_processed_again_by_another() {
    let mut driver = TestDriver::new(at_least_once("workers").only::<copy>()).unwrap();
    let first = driver.start_worker().unwrap();
    let second = driver.start_worker().unwrap();
    feed(&mut driver, 0..100);
    driver.commit();
    feed(&mut driver, 100..200);
    driver.crash(first);
    assert_eq!(driver.assignment(second).len(), 4, "the group has not removed the crashed worker yet");
    driver.advance(Duration::from_secs(46));
    assert_eq!(driver.assignment(second).len(), 8);
    let counts = counts(&mut driver);
    assert_eq!(counts.len(), 200);
    assert!(counts.range(..100).all(|(_, &n)| n == 1), "committed events are not processed again");
    assert!(counts.range(100..).any(|(_, &n)| n == 2), "uncommitted events are processed again");
}

#[test]
fn a_worker_that_stops_has_committed_everything() {
    let mut driver = driver();
    let worker = driver.start_worker().unwrap();
    feed(&mut driver, 0..1000);
    driver.stop(worker).unwrap();
    let committed: i64 = driver.committed("in").unwrap().values().map(|offset| offset.0).sum();
    assert_eq!(committed, 1000);
    driver.start_worker().unwrap();
    assert_eq!(counts(&mut driver).values().sum::<usize>(), 1000);
}

/// Never reads its stream again after the first event.
#[agent(topic = "in")]
async fn deaf(mut numbers: Stream<i64, String>) {
    numbers.next().await;
    std::future::pending::<()>().await;
}

#[test]
fn a_worker_whose_agent_does_not_return_ends_after_the_shutdown_timeout() {
    let app = App::new("workers").only::<deaf>().setting("shutdown_timeout", "5s");
    let mut driver = TestDriver::new(app).unwrap();
    let worker = driver.start_worker().unwrap();
    feed(&mut driver, 0..1);
    let before = driver.now();
    let error = driver.stop(worker).unwrap_err();
    assert!(matches!(error, faust::Error::ShutdownTimeout(_)), "{error}");
    let took = driver.now().as_millis() - before.as_millis();
    assert!((1000..=6100).contains(&took), "the shutdown took {took} ms of the driver's time");
    assert_eq!(driver.committed("in").unwrap(), BTreeMap::new(), "the unfinished event is not committed");
}

#[test]
fn an_agent_stuck_in_an_event_makes_the_worker_unready() {
    let app = App::new("workers").only::<deaf>().setting("stream_processing_timeout", "10s");
    let mut driver = TestDriver::new(app).unwrap();
    let worker = driver.start_worker().unwrap();
    assert!(driver.status(worker).unwrap().ready);
    feed(&mut driver, 0..1);
    driver.advance(Duration::from_secs(20));
    let status = driver.status(worker).unwrap();
    assert!(!status.ready);
    assert!(status.stuck[0].starts_with("agent `deaf` at in["), "{:?}", status.stuck);
}

/// Awaits ten seconds at -1.
#[agent(topic = "in")]
async fn pausing(mut numbers: Stream<i64, String>) {
    while let Some(number) = numbers.next().await {
        if number == -1 {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    }
}

/// Law: while some partitions are drained, the others are read and committed.
#[test]
fn a_drain_delays_no_commit_of_partitions_that_stay() {
    for guarantee in ["at_least_once", "exactly_once"] {
        let app = App::new("workers").only::<pausing>().setting("topic_partitions", 2);
        let app = app.setting("processing_guarantee", guarantee).setting("broker_commit_interval", "500ms");
        let mut driver = TestDriver::new(app).unwrap();
        let first = driver.start_worker().unwrap();
        // The key `d` belongs to partition 1, which the second worker receives; `a` to partition 0.
        driver.send("in", &"d".to_owned(), &-1i64).unwrap();
        driver.advance(Duration::from_secs(1));
        let faults = FaultProfile::default().with(ClusterFault::IncrementalRebalance, 1.0);
        driver.cluster().set_faults(faults);
        let second = driver.start_worker().unwrap();
        for round in 1..=3 {
            driver.send("in", &"a".to_owned(), &1i64).unwrap();
            driver.advance(Duration::from_secs(2));
            assert!(driver.assignment(second).is_empty(), "{guarantee}: the partition is still being drained");
            assert_eq!(driver.committed("in").unwrap().get(&0), Some(&Offset(round)), "{guarantee}");
        }
        driver.advance(Duration::from_secs(6));
        assert_eq!((driver.assignment(first).len(), driver.assignment(second).len()), (1, 1), "{guarantee}");
        assert_eq!(
            driver.committed("in").unwrap().get(&1),
            Some(&Offset(1)),
            "{guarantee}: it was finished by its drain"
        );
    }
}

/// Law: a revocation during a stop has its own budget, after which the partitions belong to others.
#[test]
fn a_revocation_shortens_a_stop() {
    let app = App::new("workers").only::<pausing>().setting("topic_partitions", 2);
    let app = app.setting("shutdown_timeout", "60s").setting("broker_rebalance_timeout", "1s");
    let mut driver = TestDriver::new(app).unwrap();
    let first = driver.start_worker().unwrap();
    driver.send("in", &"d".to_owned(), &-1i64).unwrap();
    driver.advance(Duration::from_secs(1));
    driver.begin_stop(first);
    let second = driver.start_worker().unwrap();
    driver.advance(Duration::from_secs(2));
    assert!(matches!(driver.ended(first), Some(Ok(()))), "the worker has not waited for its event");
    assert_eq!(driver.assignment(second).len(), 2);
}
