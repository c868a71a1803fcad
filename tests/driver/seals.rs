//! Values that cannot be sealed: the event that is the cause is found, whatever else has failed before, and no other is given up.

use std::time::Duration;

use faust::prelude::*;
use faust::testing::{TestDriver, WorkerId};
use faust::{AppBuilder, Offset};

use super::harness::{FLAKY, create_with, kept, lengthy, lengthy_pairs, other_lengthy};

fn start(app: AppBuilder, fails: impl IntoIterator<Item = (i64, u32)>) -> (TestDriver, WorkerId) {
    FLAKY.set(fails.into_iter().collect());
    let app = app.setting("topic_partitions", 1).setting("agent_failure", "skip");
    let mut driver = TestDriver::new(app).unwrap();
    let worker = driver.start_worker().unwrap();
    (driver, worker)
}

/// Returns the lengths of the texts in the table.
fn lengths(driver: &TestDriver) -> Vec<usize> {
    kept(driver).into_iter().map(|(_, length)| length).collect()
}

fn app() -> AppBuilder {
    App::new("seals").setting("producer_max_request_size", "20KiB")
}

fn send(driver: &mut TestDriver, topic: &str, numbers: impl IntoIterator<Item = i64>) {
    numbers.into_iter().for_each(|n| driver.send(topic, &n.to_string(), &n).unwrap());
}

/// Three events that have failed for a moment, and are done, must not be taken for the cause of a later failure of a seal.
#[test]
fn an_event_that_has_failed_before_is_not_skipped_for_a_later_one() {
    for (last, attempts) in [(1, 2), (4, 5)] {
        let app = app().only::<lengthy>().setting("broker_commit_interval", "1m");
        let (mut driver, worker) = start(app.setting("agent_max_attempts", attempts), [(2, 1), (5, 1), (6, last)]);
        send(&mut driver, "in", [0, 1, 2, 3, 4, 5, 6, 7, 30_000, 9]);
        driver.advance(Duration::from_secs(20));
        driver.commit();
        driver.advance(Duration::from_secs(300));
        assert_eq!(lengths(&driver), [0, 1, 2, 3, 4, 5, 6, 7, 9]);
        assert_eq!(driver.status(worker).unwrap().counts.skipped, 1);
        assert_eq!(driver.committed("in").unwrap()[&0], Offset(10));
    }
}

/// The events of a batch that has failed once are retried one by one. Another agent of the group has a value that is too large
/// in between.
#[test]
fn the_event_is_found_in_a_group_with_batches() {
    let (mut driver, worker) = start(app().only::<lengthy_pairs>().only::<other_lengthy>(), [(2, 1)]);
    send(&mut driver, "in", [1, 2]);
    send(&mut driver, "other", [30_000, 5]);
    driver.advance(Duration::from_secs(120));
    driver.commit();
    assert_eq!(lengths(&driver), [1, 2, 5]);
    assert_eq!(driver.status(worker).unwrap().counts.skipped, 1);
}

/// The same without batches: an event of the one agent has failed for a moment, that of the other is the cause.
#[test]
fn an_event_that_has_failed_before_is_not_skipped_for_one_of_another_agent() {
    let app = app().only::<lengthy>().only::<other_lengthy>().setting("broker_commit_interval", "1m");
    let (mut driver, worker) = start(app.setting("agent_max_attempts", 2), [(1, 1), (2, 1)]);
    send(&mut driver, "in", [1, 2, 3]);
    send(&mut driver, "other", [30_000, 5]);
    driver.advance(Duration::from_secs(300));
    driver.commit();
    assert_eq!(lengths(&driver), [1, 2, 3, 5]);
    assert_eq!(driver.status(worker).unwrap().counts.skipped, 1);
}

/// The commit that ends the check of each write is confirmed while later events are processed.
#[test]
fn an_event_behind_a_found_one_is_not_skipped_for_a_later_one() {
    let (mut driver, worker) =
        start(app().only::<lengthy>().setting("agent_max_attempts", 1).setting("broker_commit_interval", "1m"), []);
    send(&mut driver, "in", [0, 1, 30_000, 3, 4]);
    driver.run_until_idle();
    driver.commit();
    driver.advance(Duration::from_secs(5));
    assert_eq!(driver.status(worker).unwrap().counts.skipped, 1);
    driver.cluster().hold_commits();
    driver.commit();
    send(&mut driver, "in", [5, 6, 7]);
    driver.run_until_idle();
    driver.cluster().release_commits();
    driver.run_until_idle();
    send(&mut driver, "in", [8, 30_001, 10]);
    driver.run_until_idle();
    driver.commit();
    driver.advance(Duration::from_secs(120));
    assert_eq!(lengths(&driver), [0, 1, 3, 4, 5, 6, 7, 8, 10]);
    assert_eq!(driver.status(worker).unwrap().counts.skipped, 2);
}

/// One agent of the group takes batches, the other one is the cause.
#[test]
fn the_event_is_found_among_many_batches() {
    let (mut driver, worker) = start(app().only::<lengthy_pairs>().only::<other_lengthy>(), []);
    send(&mut driver, "in", 1..=200);
    send(&mut driver, "other", [1001, 30_000, 1002]);
    driver.advance(Duration::from_secs(120));
    driver.commit();
    let status = driver.status(worker).unwrap();
    assert_eq!((status.counts.skipped, status.counts.agent_failures), (1, 6), "{status:?}");
    assert_eq!(lengths(&driver).len(), 202);
}

/// The same with two agents that only use `next_event()`.
#[test]
fn the_event_is_found_in_a_group_of_two_agents() {
    let (mut driver, worker) = start(app().only::<lengthy>().only::<other_lengthy>(), []);
    send(&mut driver, "in", 1..=200);
    send(&mut driver, "other", 1001..=1100);
    send(&mut driver, "other", [30_000, 2000]);
    driver.advance(Duration::from_secs(120));
    driver.commit();
    let status = driver.status(worker).unwrap();
    assert_eq!((status.counts.skipped, status.counts.agent_failures), (1, 6), "{status:?}");
    assert_eq!(lengths(&driver).len(), 301);
}

/// A valid limit below the assumed size of the headers must not refuse small values.
#[test]
fn small_values_fit_with_each_valid_limit() {
    for limit in ["1KiB", "4KiB", "8KiB"] {
        let app = App::new("seals").setting("producer_max_request_size", limit).only::<lengthy>();
        let (mut driver, worker) = start(app, []);
        send(&mut driver, "in", 1..=3);
        driver.advance(Duration::from_secs(120));
        driver.commit();
        assert_eq!((lengths(&driver).len(), driver.status(worker).unwrap().counts.skipped), (3, 0), "{limit}");
    }
}

/// A changelog that exists may have a limit of its own, which is only a warning.
#[test]
fn a_value_that_is_too_large_for_the_changelog_itself_is_traced_to_its_event() {
    FLAKY.take();
    let app = App::new("seals").only::<lengthy>().setting("topic_partitions", 1).setting("agent_failure", "skip");
    let mut driver = TestDriver::new(app).unwrap();
    create_with(&driver, "seals-lengthy-changelog", &[("max.message.bytes", "10000"), ("cleanup.policy", "compact")]);
    let worker = driver.start_worker().unwrap();
    send(&mut driver, "in", [1, 2, 30_000, 4]);
    driver.advance(Duration::from_secs(600));
    driver.commit();
    assert_eq!(lengths(&driver), [1, 2, 4]);
    assert_eq!(driver.status(worker).unwrap().counts.skipped, 1);
}

/// A worker that is to stop at the first failure names the event, not the commit of the tables.
#[test]
fn a_worker_stops_at_the_event_that_is_the_cause() {
    let app = app().only::<lengthy>().setting("agent_max_attempts", 1);
    let mut driver = TestDriver::new(app.setting("topic_partitions", 1).setting("agent_failure", "stop")).unwrap();
    FLAKY.take();
    let worker = driver.start_worker().unwrap();
    send(&mut driver, "in", [1, 2, 30_000, 4]);
    driver.advance(Duration::from_secs(10));
    let Some(Err(error)) = driver.ended(worker) else { panic!("the worker is still running") };
    let text = error.to_string();
    for part in ["in[0] offset 2", "table `lengthy`", "key \"30000\"", "skip 'in[0]' 2 --agent lengthy"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}
