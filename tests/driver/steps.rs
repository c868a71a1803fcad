//! The steps of a commit (`s4`) and of an assignment (`s5`), each with the counterexample that the model finds without it, as in
//! [`laws`](super::laws).

use std::time::Duration;

use faust::testing::{ClusterFault, FaultProfile, TestDriver, WorkerId};

use super::harness::{at_least_once, create_small_topic};
use super::laws::{committed, continue_after_expulsion, driver, measuring, restore, send, sum, summing};

/// Section 4, `no number is used twice`: if a commit that was not confirmed gave its number to the next one, and has taken
/// effect nevertheless, the records of the next one count before their events are committed.
#[test]
fn s4_no_number_is_used_twice() {
    let mut driver = driver(at_least_once("laws").only::<summing>(), 1);
    let worker = driver.start_worker().unwrap();
    driver.cluster().set_faults(FaultProfile::default().with(ClusterFault::LostCommitAnswer, 1.0));
    send(&mut driver, "a", [1]);
    driver.commit();
    assert_eq!(committed(&mut driver, 0), Some(1));
    driver.cluster().set_faults(FaultProfile::default());
    // The records of the next commit arrive, and its request does not.
    driver.cluster().hold_commits();
    send(&mut driver, "b", [1]);
    driver.commit();
    assert_eq!((committed(&mut driver, 0), changes(&mut driver, "b")), (Some(1), 1));
    driver.crash(worker);
    driver.cluster().release_commits();
    restore(&mut driver, &[worker]);
    assert_eq!((sum(&driver, "a"), sum(&driver, "b")), (Some(1), Some(1)));
}

/// Section 4, `a commit waits for its records`: without it, an event is committed whose change of the table is lost.
#[test]
fn s4_a_commit_waits_for_its_records() {
    let mut driver = driver(at_least_once("laws").only::<summing>(), 1);
    let worker = driver.start_worker().unwrap();
    driver.cluster().set_faults(FaultProfile::default().with(ClusterFault::FailedSend, 1.0));
    send(&mut driver, "a", [1]);
    driver.advance(Duration::from_secs(2));
    assert_eq!(changes(&mut driver, "a"), 0);
    driver.cluster().set_faults(FaultProfile::default());
    restore(&mut driver, &[worker]);
    assert_eq!(sum(&driver, "a"), Some(1));
}

/// Returns the number of records of a key in the changelog.
fn changes(driver: &mut TestDriver, key: &str) -> usize {
    let changelog = driver.read::<String, i64>("laws-sums-changelog").unwrap();
    changelog.iter().filter(|(of, _)| of == key).count()
}

/// Section 4, `a cut is resolved by its own commit`: a commit of other partitions that is abandoned during a drain says nothing
/// about the last cut of a drained task. Otherwise the task goes back behind what is committed when a message is refused later.
#[test]
fn s4_an_abandoned_commit_of_other_partitions_leaves_a_drained_task_alone() {
    let app = at_least_once("laws").only::<measuring>().setting("agent_failure", "skip");
    let mut driver = driver(app, 2);
    create_small_topic(&driver);
    let first = driver.start_worker().unwrap();
    // The key `d` belongs to partition 1, whose commit the broker holds back; `a` to partition 0.
    send(&mut driver, "d", [1]);
    driver.cluster().hold_commits();
    driver.commit();
    send(&mut driver, "a", [1, 2]);
    // The drain gives the commit in progress up, and its own commit is carried out.
    driver.start_worker().unwrap();
    driver.advance(Duration::from_secs(10));
    // The next message is there when the task continues, so that it is part of its first commit.
    driver.send("in", &"a".to_owned(), &3000i64).unwrap();
    driver.cluster().release_commits();
    driver.run_until_idle();
    assert_eq!(driver.status(first).unwrap().counts.tasks_resumed, 1);
    assert_eq!(committed(&mut driver, 0), Some(2));
    driver.advance(Duration::from_secs(60));
    assert_eq!(driver.status(first).unwrap().counts.skipped, 1);
    assert_eq!(sum(&driver, "a"), Some(3));
}

/// Section 4: if the checkpoint of a store passed a record of a former owner that has arrived since the restore, the next owner
/// would not find it, and restores from then on would count it.
#[test]
fn s4_a_checkpoint_does_not_pass_the_record_of_a_former_owner() {
    for store in ["sled://", "fjall://"] {
        let directory = tempfile::tempdir().unwrap();
        let app = at_least_once("laws").only::<summing>();
        let mut driver = driver(app.setting("store", store).setting("datadir", directory.path().display()), 1);
        // A worker gets the first disk that is free: that of the next owner.
        let first = driver.start_worker().unwrap();
        let former = driver.start_worker().unwrap();
        driver.stop(first).unwrap();
        let next = driver.start_worker().unwrap();
        assert_eq!((driver.assignment(former).len(), driver.assignment(next).len()), (1, 0));
        send(&mut driver, "a", [1; 6]);
        driver.commit();
        continue_after_expulsion(&mut driver, former);
        driver.crash(former);
        send(&mut driver, "b", [1]);
        driver.commit();
        // The next owner has the store, and the one after it has none.
        let third = driver.restart(next).unwrap();
        send(&mut driver, "b", [1]);
        driver.commit();
        restore(&mut driver, &[third]);
        assert_eq!((sum(&driver, "a"), sum(&driver, "b")), (Some(16), Some(2)), "{store}");
    }
}

/// Section 5, `offsets are looked up before the ends of changelogs`: the former owner commits its last events while it gives the
/// partition up. An end from before lacks their records, which would be lost; the length of the changelog in the commit shows
/// it, and the worker would stop.
#[test]
fn s5_offsets_are_looked_up_before_the_ends_of_changelogs() {
    let mut driver = driver(at_least_once("laws").only::<summing>(), 1);
    let first = driver.start_worker().unwrap();
    send(&mut driver, "a", [1]);
    driver.commit();
    // The next owner is a member of the group, and waits for the partition.
    let second = driver.start_worker().unwrap();
    let [owner, next] = if driver.assignment(first).is_empty() { [second, first] } else { [first, second] };
    send(&mut driver, "a", [1]);
    driver.stop(owner).unwrap();
    assert_eq!((driver.assignment(next).len(), committed(&mut driver, 0)), (1, Some(2)));
    assert_eq!(sum(&driver, "a"), Some(2));
}

/// A worker commits an event, sends the record of the next one, and crashes before its commit.
fn before_a_takeover() -> (TestDriver, WorkerId) {
    let mut driver = driver(at_least_once("laws").only::<summing>(), 1);
    let worker = driver.start_worker().unwrap();
    send(&mut driver, "a", [1]);
    driver.commit();
    driver.cluster().hold_commits();
    send(&mut driver, "a", [1]);
    driver.commit();
    driver.crash(worker);
    driver.cluster().release_commits();
    assert_eq!((committed(&mut driver, 0), changes(&mut driver, "a")), (Some(1), 2));
    (driver, worker)
}

/// Section 5, `skipped keys are written again` and `keys are written again under the committed number`: the commit of the own
/// epoch makes all records before its end count. Without a record behind it that counts as well, an event that was not
/// committed counts twice at the next restore.
#[test]
fn s5_skipped_keys_are_written_again_under_the_committed_number() {
    let (mut driver, first) = before_a_takeover();
    // The second owner commits its epoch at once, and crashes before it commits the event.
    let second = restore(&mut driver, &[first]);
    assert_eq!(committed(&mut driver, 0), Some(1));
    restore(&mut driver, &[second]);
    assert_eq!(sum(&driver, "a"), Some(2));
}

/// Section 5, `keys are written again before the own epoch is committed`: otherwise, the record that was not committed counts
/// if the owner crashes in between.
#[test]
fn s5_keys_are_written_again_before_the_own_epoch_is_committed() {
    let (mut driver, first) = before_a_takeover();
    // No record of the second owner arrives, but its commits would.
    driver.cluster().set_faults(FaultProfile::default().with(ClusterFault::FailedSend, 1.0));
    let second = restore(&mut driver, &[first]);
    driver.advance(Duration::from_secs(2));
    driver.cluster().set_faults(FaultProfile::default());
    assert_eq!(changes(&mut driver, "a"), 2);
    restore(&mut driver, &[second]);
    assert_eq!(sum(&driver, "a"), Some(2));
}
