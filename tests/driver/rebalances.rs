//! Rebalances: static members that restart, revocations that take too long, and former owners that are members again.

use std::collections::BTreeMap;
use std::time::Duration;

use faust::prelude::*;
use faust::testing::{TestDriver, WorkerId};
use faust::{AppBuilder, Offset};

const GUARANTEES: [&str; 2] = ["at_least_once", "exactly_once"];

/// Counts the numbers by key. Takes ten seconds for -1.
#[agent(topic = "in")]
async fn count(
    mut numbers: Stream<i64, String>,
    counts: Table<String, i64>,
    #[topic("counted")] counted: Topic<String, i64>,
) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        if *event.value() == -1 {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        let count = counts.update(event.key(), |count| {
            *count += 1;
            *count
        });
        counted.send(event.key(), &count).await?;
    }
    Ok(())
}

fn app(guarantee: &str) -> AppBuilder {
    let app = App::new("rebalances").only::<count>().setting("processing_guarantee", guarantee);
    app.setting("broker_commit_interval", "100ms").setting("broker_session_timeout", "6s")
}

fn driver(app: AppBuilder, partitions: i32) -> TestDriver {
    TestDriver::new(app.setting("topic_partitions", partitions)).unwrap()
}

/// Sends a number to each partition, with the partition's number as the key.
fn send_to_each(driver: &mut TestDriver, partitions: i32, number: i64) {
    for partition in 0..partitions {
        let key = format!("p{partition}");
        driver.send_with("in", &key, &number, |message| message.partition(partition)).unwrap();
    }
    driver.run_until_idle();
}

fn counted(driver: &mut TestDriver) -> BTreeMap<String, Vec<i64>> {
    let mut counted: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (key, count) in driver.read::<String, i64>("counted").unwrap() {
        counted.entry(key).or_default().push(count);
    }
    counted
}

fn counts(driver: &TestDriver) -> BTreeMap<String, i64> {
    driver.table::<String, i64>("counts").unwrap().iter().collect()
}

fn rebalances(driver: &TestDriver, worker: WorkerId) -> u64 {
    driver.status(worker).unwrap().counts.rebalances
}

/// Law: static workers that restart in turn get their partitions back, and the others do not notice.
#[test]
fn a_rolling_restart_of_static_workers_moves_nothing() {
    for guarantee in GUARANTEES {
        let app = app(guarantee).setting("consumer_group_instance_id", "worker");
        let mut driver = driver(app, 6);
        let mut workers = [0; 3].map(|_| driver.start_worker().unwrap());
        send_to_each(&mut driver, 6, 1);
        driver.commit();
        for at in 0..3 {
            let others: Vec<_> = (0..3).filter(|other| *other != at).map(|other| workers[other]).collect();
            let view = |driver: &TestDriver| -> Vec<_> {
                others.iter().map(|other| (driver.assignment(*other), rebalances(driver, *other))).collect()
            };
            let (own, before) = (driver.assignment(workers[at]), view(&driver));
            assert_eq!(own.len(), 2);
            driver.stop(workers[at]).unwrap();
            send_to_each(&mut driver, 6, 1);
            driver.advance(Duration::from_secs(1));
            let done = counted(&mut driver).values().filter(|counts| counts.len() == at + 2).count();
            assert_eq!(done, 4, "the partitions of the others go on, those of the worker wait");
            workers[at] = driver.start_worker().unwrap();
            driver.advance(Duration::from_secs(1));
            assert_eq!(driver.assignment(workers[at]), own, "{guarantee}");
            assert_eq!(view(&driver), before, "{guarantee}: no rebalance");
        }
        let all = (0..6).map(|partition| (format!("p{partition}"), vec![1, 2, 3, 4])).collect();
        assert_eq!(counted(&mut driver), all, "{guarantee}");
        assert!(counts(&driver).values().all(|count| *count == 4), "{guarantee}");
    }
}

#[test]
fn a_static_worker_that_does_not_return_loses_its_partitions_after_its_session() {
    for is_stopped in [true, false] {
        let mut driver = driver(app("exactly_once").setting("consumer_group_instance_id", "worker"), 4);
        let workers = [0; 2].map(|_| driver.start_worker().unwrap());
        if is_stopped {
            driver.stop(workers[1]).unwrap();
        } else {
            driver.crash(workers[1]);
        }
        driver.advance(Duration::from_secs(5));
        assert_eq!(driver.assignment(workers[0]).len(), 2);
        driver.advance(Duration::from_secs(2));
        assert_eq!(driver.assignment(workers[0]).len(), 4);
        // It is a new member now.
        let back = driver.start_worker().unwrap();
        assert_eq!(driver.assignment(back).len(), 2);
        send_to_each(&mut driver, 4, 1);
        driver.commit();
        assert!(counts(&driver).values().eq([1; 4].iter()));
    }
}

/// Law: a crashed static worker that returns within its session replays its open transaction, and nothing of it is visible.
#[test]
fn a_static_worker_that_was_killed_returns_without_a_rebalance() {
    for guarantee in GUARANTEES {
        let mut driver = driver(app(guarantee).setting("consumer_group_instance_id", "worker"), 2);
        let workers = [0; 2].map(|_| driver.start_worker().unwrap());
        send_to_each(&mut driver, 2, 1);
        driver.commit();
        driver.cluster().hold_deliveries();
        send_to_each(&mut driver, 2, 1);
        driver.advance(Duration::from_millis(150));
        let before = rebalances(&driver, workers[0]);
        driver.crash(workers[1]);
        driver.cluster().release_deliveries();
        let back = driver.start_worker().unwrap();
        driver.advance(Duration::from_secs(1));
        assert_eq!((driver.assignment(back).len(), rebalances(&driver, workers[0])), (1, before), "{guarantee}");
        assert_eq!(counts(&driver), BTreeMap::from([("p0".to_owned(), 2), ("p1".to_owned(), 2)]), "{guarantee}");
        if guarantee == "exactly_once" {
            assert!(counted(&mut driver).values().all(|counts| *counts == [1, 2]));
        }
    }
}

/// Law: over its budget, a revocation aborts the transaction and hands the partitions over.
#[test]
fn a_transaction_that_is_late_for_a_revocation_is_aborted() {
    let mut driver = driver(app("exactly_once").setting("broker_rebalance_timeout", "2s"), 2);
    let first = driver.start_worker().unwrap();
    send_to_each(&mut driver, 2, 1);
    driver.commit();
    driver.cluster().hold_deliveries();
    send_to_each(&mut driver, 2, 1);
    driver.advance(Duration::from_millis(150));
    // Its transaction is open, and its messages are not acknowledged.
    let second = driver.start_worker().unwrap();
    driver.advance(Duration::from_millis(1000));
    assert!(driver.assignment(second).is_empty(), "the first worker still waits for its messages");
    driver.advance(Duration::from_millis(1500));
    assert_eq!((driver.assignment(first).len(), driver.assignment(second).len()), (1, 1), "within the budget");
    assert!(counted(&mut driver).values().all(|counts| *counts == [1]), "nothing of the transaction is visible");
    driver.cluster().release_deliveries();
    driver.advance(Duration::from_secs(1));
    assert!(counted(&mut driver).values().all(|counts| *counts == [1, 2]));
    assert!(counts(&driver).values().eq([2; 2].iter()));
}

/// Law: an agent that does not finish its event in time keeps only its own partition's event from the commit.
#[test]
fn a_revocation_over_its_budget_commits_what_others_have_finished() {
    for guarantee in GUARANTEES {
        let mut driver = driver(app(guarantee).setting("broker_rebalance_timeout", "2s"), 2);
        driver.start_worker().unwrap();
        // Partition 0 is inside an event for longer than the budget. Partition 1 has finished one, and not committed.
        driver.send_with("in", &"p0".to_owned(), &-1, |message| message.partition(0)).unwrap();
        driver.send_with("in", &"p1".to_owned(), &1, |message| message.partition(1)).unwrap();
        driver.run_until_idle();
        let second = driver.start_worker().unwrap();
        driver.advance(Duration::from_millis(2100));
        assert_eq!(driver.assignment(second).len(), 1, "{guarantee}: the budget is over");
        assert_eq!(driver.committed("in").unwrap().get(&1), Some(&Offset(1)), "{guarantee}");
        assert_ne!(driver.committed("in").unwrap().get(&0), Some(&Offset(1)), "{guarantee}");
        driver.advance(Duration::from_secs(15));
        assert_eq!(counts(&driver), BTreeMap::from([("p0".to_owned(), 1), ("p1".to_owned(), 1)]), "{guarantee}");
    }
}

/// The request of a former owner that is on its way while it loses its partition and gets it back.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Late {
    /// Its messages are not acknowledged: it asks for its identity in the group after it has rejoined.
    Deliveries,
    /// Its commit is on its way, with its identity of before.
    Commit,
}

/// Law: what a worker has finished before it lost its partition is not committed, also if it is a member again, and owns the
/// partition again, before it commits: another owner has processed it meanwhile.
#[test]
fn a_former_owner_that_has_rejoined_commits_nothing_of_before() {
    for (guarantee, late) in GUARANTEES.into_iter().flat_map(|of| [(of, Late::Deliveries), (of, Late::Commit)]) {
        let mut driver = driver(app(guarantee), 1);
        let workers = [0; 2].map(|_| driver.start_worker().unwrap());
        let owner = |driver: &TestDriver| workers.into_iter().find(|worker| !driver.assignment(*worker).is_empty());
        let first = owner(&driver).unwrap();
        send_to_each(&mut driver, 1, 1);
        driver.commit();
        match late {
            Late::Deliveries => driver.cluster().hold_deliveries(),
            Late::Commit => driver.cluster().hold_commits(),
        }
        send_to_each(&mut driver, 1, 1);
        driver.advance(Duration::from_millis(150));
        assert!(driver.expel(first, Duration::from_millis(500)));
        driver.run_until_idle();
        // The other one owns the partition until the first one joins again, and gets it back.
        driver.advance(Duration::from_millis(1500));
        match late {
            Late::Deliveries => driver.cluster().release_deliveries(),
            Late::Commit => driver.cluster().release_commits(),
        }
        driver.advance(Duration::from_secs(15));
        assert_eq!(owner(&driver), Some(first), "{guarantee}, {late:?}: it is the owner again");
        send_to_each(&mut driver, 1, 1);
        driver.advance(Duration::from_secs(1));
        assert_eq!(counts(&driver), BTreeMap::from([("p0".to_owned(), 3)]), "{guarantee}, {late:?}");
        let counted = counted(&mut driver).remove("p0").unwrap();
        if guarantee == "exactly_once" {
            assert_eq!(counted, [1, 2, 3], "{late:?}");
        } else {
            assert!((1..=3).all(|count| counted.contains(&count)), "{late:?}: {counted:?}");
        }
        assert_eq!(driver.committed("in").unwrap().get(&0), Some(&Offset(3)), "{guarantee}, {late:?}");
    }
}
