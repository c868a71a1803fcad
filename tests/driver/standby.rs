//! Standbys: copies of tables on other workers, from which a takeover continues.

use std::collections::BTreeMap;
use std::time::Duration;

use faust::prelude::*;
use faust::testing::{TestDriver, WorkerId};
use faust::{Counts, StandbyStatus};

use super::laws::{SLOW, send, sum, summing};

/// A cluster whose workers have disks.
struct World {
    driver: TestDriver,
    _directory: tempfile::TempDir,
}

const GUARANTEES: [&str; 2] = ["at_least_once", "exactly_once"];
const PARTITIONS: i32 = 4;

impl World {
    fn new(store: &str, guarantee: &str) -> Self {
        SLOW.set(false);
        let directory = tempfile::tempdir().unwrap();
        let app = App::new("standby").only::<summing>().setting("topic_partitions", PARTITIONS);
        let app = app.setting("store", store).setting("datadir", directory.path().display());
        let app = app.setting("broker_session_timeout", "6s").setting("broker_commit_interval", "500ms");
        // A cluster that is impatient waits for a part of it.
        let app = app.setting("broker_rebalance_timeout", "1s").setting("shutdown_timeout", "60s");
        let driver = TestDriver::new(app.setting("processing_guarantee", guarantee)).unwrap();
        Self { driver, _directory: directory }
    }

    fn start(&mut self) -> WorkerId {
        self.driver.start_worker().unwrap()
    }

    /// Sends each of these numbers once, under one key each, and waits until they are committed.
    fn feed(&mut self, numbers: std::ops::Range<i64>) {
        numbers.for_each(|n| self.driver.send("in", &format!("k{n}"), &n).unwrap());
        self.driver.commit();
        self.driver.commit();
    }

    fn counts(&self, worker: WorkerId) -> Counts {
        self.driver.status(worker).unwrap().counts
    }

    fn standbys(&self, worker: WorkerId) -> Vec<StandbyStatus> {
        self.driver.status(worker).unwrap().standbys
    }

    /// Returns the last entry of a worker in the app's control topic.
    fn published(&mut self, worker: &str) -> String {
        let key = format!("worker/{worker}").into_bytes();
        let all = self.driver.messages("standby-control").unwrap().into_iter();
        let of_worker = all.filter(|message| message.key.as_deref() == Some(&*key));
        String::from_utf8(of_worker.last().unwrap().payload.unwrap().to_vec()).unwrap()
    }

    fn partitions(&self, worker: WorkerId) -> Vec<i32> {
        self.driver.assignment(worker).iter().map(|assigned| assigned.partition).collect()
    }

    /// Advances the clock until the worker's standbys are complete, and returns their partitions.
    fn caught_up(&mut self, worker: WorkerId) -> Vec<i32> {
        // The commits are looked up every second.
        self.driver.advance(Duration::from_secs(2));
        self.until("standbys are complete", |world| {
            let standbys = world.standbys(worker);
            !standbys.is_empty() && standbys.iter().all(|standby| standby.lag == Some(0))
        });
        self.standbys(worker).iter().map(|standby| standby.partition).collect()
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..100 {
            if holds(self) {
                return;
            }
            self.driver.advance(Duration::from_millis(500));
        }
        panic!("not within 50 seconds: {what}");
    }

    /// Checks that each of these numbers counts once.
    fn check(&self, numbers: std::ops::Range<i64>) {
        let sums: BTreeMap<_, _> = self.driver.table::<String, i64>("sums").unwrap().iter().collect();
        assert_eq!(sums, numbers.map(|n| (format!("k{n}"), n)).collect());
    }
}

/// Law: the heir of a worker that has died restores only what its standby lacked.
#[test]
fn the_heir_of_a_dead_worker_restores_nearly_nothing() {
    for (store, guarantee) in [("sled://", GUARANTEES[0]), ("fjall://", GUARANTEES[1]), ("sled://", GUARANTEES[1])] {
        let mut world = World::new(store, guarantee);
        let (first, second) = (world.start(), world.start());
        world.feed(0..400);
        assert_eq!(world.caught_up(second), world.partitions(first), "{store} {guarantee}");
        assert_eq!(world.caught_up(first), world.partitions(second), "{store} {guarantee}");
        let before = world.counts(second);
        let own = i64::try_from(before.changelog).unwrap();
        assert_eq!(i64::try_from(before.standby_records).unwrap(), 400 - own, "each record is applied once");
        world.driver.advance(Duration::from_secs(5));
        let published = world.published("worker-2");
        assert!(published.contains(r#""standbys":{"sums":{"0":0,"1":0}}"#), "{published}");
        world.driver.crash(first);
        world.until("the takeover", |world| world.partitions(second).len() == 4);
        world.driver.commit();
        let after = world.counts(second);
        assert_eq!(after.standby_takeovers, 2);
        assert_eq!(after.restored - before.restored, 0, "{store} {guarantee}");
        world.feed(400..500);
        world.check(0..500);
        assert!(world.standbys(second).is_empty(), "a lone worker keeps no standbys");
    }
}

/// Law: a standby applies nothing that is not committed, and everything that is.
#[test]
fn a_standby_waits_for_the_commit() {
    let mut world = World::new("sled://", "at_least_once");
    let (first, second) = (world.start(), world.start());
    world.feed(0..100);
    world.caught_up(second);
    let applied = world.counts(second).standby_records;
    world.driver.cluster().hold_commits();
    world.feed(100..200);
    world.driver.advance(Duration::from_secs(5));
    assert!(world.counts(first).changelog > applied, "the changes are in the changelog");
    assert_eq!(world.counts(second).standby_records, applied);
    world.driver.cluster().release_commits();
    world.driver.advance(Duration::from_secs(5));
    assert_eq!(world.counts(second).standby_records, world.counts(first).changelog);
    // The same, but the owner dies before its commit arrives: the events are processed again.
    world.driver.cluster().hold_commits();
    world.feed(200..300);
    world.driver.advance(Duration::from_secs(5));
    world.driver.crash(first);
    world.driver.cluster().release_commits();
    world.until("the takeover", |world| world.partitions(second).len() == 4);
    world.driver.commit();
    world.driver.commit();
    assert_eq!(world.counts(second).standby_takeovers, 2);
    world.check(0..300);
}

/// Law: a standby does not pass the records of a former owner that never count, and goes on once the next owner has taken over.
#[test]
fn records_of_a_former_owner_hold_a_standby_back() {
    let mut world = World::new("sled://", "at_least_once");
    world.driver.create_topic("in", 3).unwrap();
    let [first, second, third] = [world.start(), world.start(), world.start()];
    world.feed(0..100);
    let to_first = |world: &mut World, key: &str| {
        world.driver.send_with("in", &key.to_owned(), &1i64, |message| message.partition(0)).unwrap();
        world.driver.run_until_idle();
    };
    // The first worker is inside an event when the group expels it, and writes to the changelog afterwards.
    SLOW.set(true);
    to_first(&mut world, "slow");
    assert!(world.driver.expel(first, Duration::from_secs(30)));
    world.driver.advance(Duration::from_secs(10));
    assert_eq!((world.partitions(second), world.partitions(third)), (vec![0, 1], vec![2]));
    let lag = |world: &World, worker| {
        let found = world.standbys(worker).into_iter().find(|standby| standby.partition == 0);
        found.map(|standby| standby.lag)
    };
    assert_eq!(lag(&world, third), Some(Some(0)), "the heir of the second worker follows it");
    world.driver.advance(Duration::from_secs(5));
    (0..5).for_each(|n| to_first(&mut world, &format!("later{n}")));
    world.driver.advance(Duration::from_secs(5));
    let held_back = lag(&world, third).flatten().unwrap();
    assert!(held_back >= 5, "the changes are behind the record of the first worker: {held_back}");
    // The first worker joins again, and takes the partition over.
    world.driver.advance(Duration::from_secs(15));
    assert_eq!((world.partitions(first), world.partitions(second)), (vec![0], vec![1]));
    world.driver.commit();
    world.driver.commit();
    assert_eq!(world.caught_up(second), [0, 2]);
    let before = world.counts(second);
    world.driver.crash(first);
    world.until("the takeover", |world| world.partitions(second) == [0, 1]);
    world.driver.commit();
    let after = world.counts(second);
    assert_eq!((after.standby_takeovers - before.standby_takeovers, after.restored - before.restored), (1, 0));
    let sums: BTreeMap<_, _> = world.driver.table::<String, i64>("sums").unwrap().iter().collect();
    let one = (0..5).map(|n| (format!("later{n}"), 1)).chain([("slow".to_owned(), 1)]);
    assert_eq!(sums, (0..100).map(|n| (format!("k{n}"), n)).chain(one).collect());
}

/// Law: the end of a transaction that was aborted is no change. The next owner's commit does not cover it, and a standby that has
/// read it is not ahead of that commit.
#[test]
fn a_standby_is_not_ahead_behind_an_aborted_transaction() {
    let mut world = World::new("sled://", "exactly_once");
    world.driver.create_topic("in", 3).unwrap();
    let [first, second, third] = [world.start(), world.start(), world.start()];
    world.feed(0..100);
    // The first worker dies within a transaction, which is aborted after its timeout.
    world.driver.cluster().hold_deliveries();
    let send = |world: &mut World, n: i64| {
        world.driver.send_with("in", &format!("k{n}"), &n, |message| message.partition(0)).unwrap();
        world.driver.advance(Duration::from_secs(1));
    };
    send(&mut world, 100);
    world.driver.crash(first);
    world.driver.cluster().release_deliveries();
    world.driver.advance(Duration::from_secs(20));
    assert_eq!((world.partitions(second), world.partitions(third)), (vec![0, 1], vec![2]));
    assert_eq!(world.caught_up(third), [0, 1]);
    let before = world.counts(third).standby_records;
    (101..104).for_each(|n| send(&mut world, n));
    assert_eq!(world.caught_up(third), [0, 1]);
    let after = world.counts(third);
    assert_eq!((after.standby_records - before, after.stores_set_aside), (3, 0), "nothing is applied again");
    world.check(0..104);
}

/// Law: a standby whose disk was lost is built again from the whole changelog.
#[test]
fn a_standby_recovers_after_a_lost_disk() {
    let mut world = World::new("fjall://", "exactly_once");
    let (first, second) = (world.start(), world.start());
    world.feed(0..400);
    world.caught_up(second);
    world.driver.crash(second);
    world.driver.advance(Duration::from_secs(10));
    world.driver.lose_disk(second).unwrap();
    let second = world.start();
    world.feed(400..500);
    assert_eq!(world.caught_up(second), world.partitions(first));
    let before = world.counts(second);
    world.driver.crash(first);
    world.until("the takeover", |world| world.partitions(second).len() == 4);
    world.driver.commit();
    let after = world.counts(second);
    assert_eq!((after.standby_takeovers, after.restored - before.restored), (2, 0));
    world.check(0..500);
}

/// Law: although workers come and go, a partition that has been on a worker is never restored from the beginning again.
#[test]
fn partitions_move_back_and_forth_between_standbys() {
    let mut world = World::new("sled://", "exactly_once");
    let (first, mut second) = (world.start(), world.start());
    let (mut fed, mut takeovers) = (0, 0);
    for round in 0..4 {
        world.feed(fed..fed + 100);
        fed += 100;
        world.caught_up(first);
        world.caught_up(second);
        let before = world.counts(first);
        if round % 2 == 0 {
            world.driver.crash(second)
        } else {
            world.driver.stop(second).unwrap()
        }
        world.until("the takeover", |world| world.partitions(first).len() == 4);
        world.driver.commit();
        let after = world.counts(first);
        assert_eq!(after.restored, before.restored, "round {round}");
        takeovers += after.standby_takeovers - before.standby_takeovers;
        world.feed(fed..fed + 10);
        fed += 10;
        second = world.start();
        world.driver.commit();
        // What it has missed while it was away.
        assert!(world.counts(second).restored <= 110, "round {round}: {}", world.counts(second).restored);
        world.check(0..fed);
    }
    assert_eq!(takeovers, 8);
}

/// Law: standbys are kept as often as the setting says, and only where there is a disk.
#[test]
fn the_setting_decides_about_standbys() {
    let standbys = |replicas: u32, store: &str| {
        let mut world = World::new(store, "at_least_once");
        let app = App::new("standby").only::<summing>().setting("topic_partitions", 6).setting("store", store);
        let app = app.setting("datadir", world._directory.path().display());
        world.driver.set_app(app.setting("table_standby_replicas", replicas)).unwrap();
        world.driver.create_topic("in", 6).unwrap();
        let workers = [world.start(), world.start(), world.start()];
        send(&mut world.driver, "a", [1]);
        world.driver.advance(Duration::from_secs(20));
        assert_eq!(sum(&world.driver, "a"), Some(1));
        workers.map(|worker| world.standbys(worker).iter().map(|standby| standby.partition).collect::<Vec<_>>())
    };
    let none: [Vec<i32>; 3] = Default::default();
    assert_eq!(standbys(0, "sled://"), none);
    assert_eq!(standbys(1, "sled://"), [vec![2], vec![0, 1, 4, 5], vec![3]]);
    assert_eq!(standbys(2, "sled://"), [vec![2, 3], vec![0, 1, 4, 5], vec![2, 3]]);
    assert_eq!(standbys(2, "memory://"), none, "there is no disk");
}
