//! Former owners of partitions, and refused commits: the tables stay what the committed events make them.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use faust::prelude::*;
use faust::testing::{ClusterFault, FaultProfile, TestDriver, WorkerId};
use faust::{AppBuilder, Offset};

thread_local! {
    /// Makes the next event long: 12 seconds of the driver's clock in [`summing`].
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

fn driver(app: AppBuilder, partitions: i32) -> TestDriver {
    let app = app.setting("topic_partitions", partitions).setting("broker_commit_interval", "500ms");
    SLOW.set(false);
    TestDriver::new(app).unwrap()
}

/// Starts a worker that has processed six events of the key `d`, which belongs to partition 1. A second worker would receive
/// this partition without waiting for the first one, whose commits the cluster accepts all the same.
fn before_a_hand_over() -> (TestDriver, WorkerId) {
    let app = App::new("owners").only::<summing>();
    let app = app.setting("shutdown_timeout", "60s").setting("broker_rebalance_timeout", "1s");
    let mut driver = driver(app, 2);
    let first = driver.start_worker().unwrap();
    send(&mut driver, "d", 6);
    driver.commit();
    let faults = FaultProfile::default().with(ClusterFault::ImpatientRebalance, 1.0);
    driver.cluster().set_faults(faults.with(ClusterFault::CommitByFormerOwner, 1.0));
    (driver, first)
}

fn send(driver: &mut TestDriver, key: &str, count: usize) {
    for _ in 0..count {
        driver.send("in", &key.to_owned(), &1i64).unwrap();
    }
    driver.run_until_idle();
}

fn committed(driver: &mut TestDriver, partition: i32) -> Option<Offset> {
    driver.committed("in").unwrap().get(&partition).copied()
}

fn sum(driver: &TestDriver, key: &str) -> Option<i64> {
    driver.table::<String, i64>("sums").unwrap().find(key)
}

/// Crashes the workers, and starts one that restores all tables from their changelogs.
fn restore(driver: &mut TestDriver, workers: &[WorkerId]) -> WorkerId {
    workers.iter().for_each(|worker| driver.crash(*worker));
    driver.advance(Duration::from_secs(60));
    let worker = driver.start_worker().unwrap();
    driver.commit();
    worker
}

#[test]
fn records_of_an_expelled_owner_do_not_count() {
    let mut driver = driver(App::new("owners").only::<summing>(), 1);
    let workers = [driver.start_worker().unwrap(), driver.start_worker().unwrap()];
    send(&mut driver, "a", 6);
    driver.commit();
    let owner = workers.into_iter().find(|worker| !driver.assignment(*worker).is_empty()).unwrap();
    SLOW.set(true);
    send(&mut driver, "a", 1);
    // The owner does not learn that it has been expelled until it has finished its event and sealed its table.
    assert!(driver.expel(owner, Duration::from_secs(20)));
    driver.run_until_idle();
    send(&mut driver, "a", 9);
    driver.commit();
    assert_eq!(committed(&mut driver, 0), Some(Offset(16)), "the other worker has processed everything");
    driver.advance(Duration::from_secs(25));
    restore(&mut driver, &workers);
    assert_eq!(sum(&driver, "a"), Some(16));
}

/// Law: the checkpoint of a store does not pass a record of a former owner that has arrived since the restore. Otherwise, the
/// next owner would not find it, and restores from then on would count it.
#[test]
fn a_checkpoint_does_not_pass_the_record_of_a_former_owner() {
    for store in ["sled://", "fjall://"] {
        let directory = tempfile::tempdir().unwrap();
        let app =
            App::new("owners").only::<summing>().setting("store", store).setting("datadir", directory.path().display());
        let mut driver = driver(app, 1);
        // A worker gets the first disk that is free: that of the next owner.
        let first = driver.start_worker().unwrap();
        let former = driver.start_worker().unwrap();
        driver.stop(first).unwrap();
        let next = driver.start_worker().unwrap();
        assert_eq!((driver.assignment(former).len(), driver.assignment(next).len()), (1, 0));
        send(&mut driver, "a", 6);
        driver.commit();
        SLOW.set(true);
        send(&mut driver, "a", 1);
        assert!(driver.expel(former, Duration::from_secs(30)));
        driver.run_until_idle();
        send(&mut driver, "a", 9);
        driver.commit();
        // The former owner finishes its event, seals it, and takes long for the next one: its record of the key is the last.
        driver.advance(Duration::from_secs(11));
        SLOW.set(true);
        driver.advance(Duration::from_secs(3));
        let last = driver.read::<String, i64>("owners-sums-changelog").unwrap().pop();
        assert_eq!(last, Some(("a".to_owned(), 7)), "{store}");
        driver.crash(former);
        send(&mut driver, "b", 1);
        driver.commit();
        // The next owner has the store, and the one after it has none.
        let third = driver.restart(next).unwrap();
        send(&mut driver, "b", 1);
        driver.commit();
        driver.crash(third);
        driver.advance(Duration::from_secs(60));
        driver.lose_disk(third).unwrap();
        driver.start_worker().unwrap();
        driver.commit();
        assert_eq!((sum(&driver, "a"), sum(&driver, "b")), (Some(16), Some(2)), "{store}");
    }
}

/// The commit of the former owner takes the offset back: its events are processed again, from the table that belongs to it.
#[test]
fn a_table_belongs_to_the_commit_of_a_former_owner() {
    let (mut driver, first) = before_a_hand_over();
    send(&mut driver, "d", 1);
    // The broker carries the first worker's commit out when the partition belongs to another worker.
    driver.cluster().delay_commits(Some(Duration::from_secs(12)));
    driver.commit();
    driver.cluster().delay_commits(None);
    let second = driver.start_worker().unwrap();
    driver.advance(Duration::from_secs(2));
    send(&mut driver, "d", 9);
    driver.commit();
    assert_eq!(committed(&mut driver, 1), Some(Offset(16)), "the second worker has processed everything");
    while committed(&mut driver, 1) != Some(Offset(7)) {
        assert!(driver.now().as_millis() < faust::testing::START.as_millis() + 20_000, "the late commit takes effect");
        driver.advance(Duration::from_millis(100));
    }
    restore(&mut driver, &[first, second]);
    assert_eq!((sum(&driver, "d"), committed(&mut driver, 1)), (Some(16), Some(Offset(16))));
}

#[agent(topic = "other")]
async fn other(mut numbers: Stream<i64, String>) -> Result<()> {
    while numbers.next().await.is_some() {}
    Ok(())
}

/// The changes of a commit that is not confirmed would be written again with each of the next.
#[test]
fn a_deleted_topic_does_not_stop_the_commits_of_others() {
    let mut driver = driver(App::new("owners").only::<summing>().only::<other>(), 1);
    driver.start_worker().unwrap();
    send(&mut driver, "a", 3);
    driver.send("other", &"a".to_owned(), &1i64).unwrap();
    driver.commit();
    driver.send("other", &"a".to_owned(), &2i64).unwrap();
    driver.run_until_idle();
    driver.delete_topic("other").unwrap();
    for key in 'b'..'l' {
        send(&mut driver, &key.to_string(), 1);
        driver.commit();
    }
    assert_eq!(driver.messages("owners-sums-changelog").unwrap().len(), 11, "one record for each change");
}

#[agent(topics = ["in", "other"])]
async fn both(mut numbers: Stream<i64, String>, sums: Table<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        sums.update(event.key(), |sum| *sum += event.value());
    }
    Ok(())
}

#[test]
fn each_topic_of_a_task_knows_the_positions_in_all() {
    let mut refused = BTreeSet::new();
    for seed in 0..8 {
        let app = App::new("owners").only::<both>().setting("topic_partitions", 1);
        let mut driver = TestDriver::seeded(app.setting("broker_commit_interval", "500ms"), seed).unwrap();
        let worker = driver.start_worker().unwrap();
        send(&mut driver, "a", 1);
        driver.send("other", &"a".to_owned(), &1i64).unwrap();
        driver.run_until_idle();
        driver.cluster().set_faults(FaultProfile::default().with(ClusterFault::PartialCommit, 1.0));
        driver.commit();
        refused.insert(committed(&mut driver, 0) != Some(Offset(1)));
        driver.cluster().set_faults(FaultProfile::default());
        restore(&mut driver, &[worker]);
        assert_eq!(sum(&driver, "a"), Some(2), "seed {seed}");
    }
    assert_eq!(refused.len(), 2, "each of the topics was refused in some run");
}

/// The positions of a task stand in the commits of all of its topics, also after one of them has been deleted.
#[test]
fn a_topic_that_was_created_again_is_read_from_its_beginning() {
    let app = App::new("owners").only::<both>().only::<apart>().setting("topic_partitions", 1);
    let mut driver = TestDriver::new(app.setting("broker_commit_interval", "500ms")).unwrap();
    let worker = driver.start_worker().unwrap();
    let other = |driver: &mut TestDriver, count| {
        for _ in 0..count {
            driver.send("other", &"a".to_owned(), &1i64).unwrap();
        }
        driver.run_until_idle();
    };
    send(&mut driver, "a", 3);
    other(&mut driver, 5);
    driver.commit();
    driver.crash(worker);
    driver.advance(Duration::from_secs(60));
    driver.delete_topic("other").unwrap();
    driver.create_topic("other", 1).unwrap();
    other(&mut driver, 2);
    driver.start_worker().unwrap();
    driver.commit();
    assert_eq!(sum(&driver, "a"), Some(3 + 5 + 2));
    assert_eq!(driver.committed("other").unwrap()[&0], Offset(2));
}

/// Makes the reader of `other` have two subscribers.
#[agent(topic = "other")]
async fn apart(mut numbers: Stream<i64, String>) -> Result<()> {
    while numbers.next().await.is_some() {}
    Ok(())
}

/// Law: a worker does not commit for partitions that were given away while it was busy.
#[test]
fn a_commit_for_partitions_that_were_given_away_is_not_sent() {
    let (mut driver, first) = before_a_hand_over();
    // The first worker is inside an event for longer than the rebalance waits for it.
    SLOW.set(true);
    send(&mut driver, "d", 1);
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
    assert_eq!(lowest, before, "the lowest committed offset");
}
