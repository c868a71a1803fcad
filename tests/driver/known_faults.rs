//! Faults that are known and not mended yet, each under its number with a scenario that shows it.
//!
//! The test asserts that each scenario fails. When one is mended, its scenario becomes a test of its own.

use std::time::Duration;

use faust::Offset;
use faust::prelude::*;
use faust::testing::{ClusterFault, FaultProfile};

use super::owners::{SLOW, committed, driver, send, summing};

/// A scenario. The error describes what went wrong.
type Scenario = fn() -> Result<(), String>;

const KNOWN: &[(&str, Scenario)] = &[
    ("F1: a worker commits for partitions that it has lost", commit_of_a_former_owner),
    ("F7: an agent in a long event stops its neighbours", long_event_beside_a_fast_agent),
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

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, actual: T, expected: T) -> Result<(), String> {
    if actual == expected { Ok(()) } else { Err(format!("{what}: {actual:?} instead of {expected:?}")) }
}

fn commit_of_a_former_owner() -> Result<(), String> {
    let app = App::new("known").only::<summing>();
    let app = app.setting("shutdown_timeout", "60s").setting("broker_rebalance_timeout", "1s");
    let mut driver = driver(app, 2);
    let first = driver.start_worker().unwrap();
    // The key belongs to partition 1, which a second worker receives.
    send(&mut driver, "d", 6);
    driver.commit();
    SLOW.set(true);
    send(&mut driver, "d", 1);
    // The first worker is inside an event for longer than the rebalance waits for it.
    let faults = FaultProfile::default().with(ClusterFault::ImpatientRebalance, 1.0);
    driver.cluster().set_faults(faults.with(ClusterFault::CommitByFormerOwner, 1.0));
    driver.begin_stop(first);
    driver.start_worker().unwrap();
    driver.advance(Duration::from_secs(2));
    send(&mut driver, "d", 9);
    driver.commit();
    let before = committed(&mut driver, 1);
    assert_eq!(before, Some(Offset(16)), "the second worker has processed everything");
    // The first worker returns from its event, and the second one has not committed again.
    let mut lowest = before;
    for _ in 0..150 {
        driver.advance(Duration::from_millis(100));
        lowest = lowest.min(committed(&mut driver, 1));
    }
    expect("the lowest committed offset", lowest, before)
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
    let mut driver = driver(App::new("known").only::<lingering>().only::<brisk>(), 1);
    driver.start_worker().unwrap();
    SLOW.set(true);
    send(&mut driver, "a", 3000);
    // One event takes 10 ms. A tenth of the time is allowed for commits.
    driver.advance(Duration::from_secs(20));
    let done = driver.messages("out").unwrap().len();
    if done >= 1800 { Ok(()) } else { Err(format!("{done} events instead of 2000 in 20 s")) }
}
