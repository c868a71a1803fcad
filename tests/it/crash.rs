//! `kill -9` of the worker and of the broker at random moments: committed events are processed, and no event is lost.
//!
//! Numbered events are produced at 5 000 per second for a worker in a process of its own. After each kill an admin
//! client reads the committed offsets, and the outputs of all events below them must be in their topics. A run in which
//! too few kills left events to be replayed proves nothing and fails.
//!
//! | Variable | Meaning |
//! |---|---|
//! | `FAUST_TEST_KAFKA` | run against this Kafka; otherwise the durable embedded broker, which is killed as well |
//! | `FAUST_TEST_KILLS` | kills per scenario, 4 by default; with 20 the other scenarios have their full length as well |
//! | `FAUST_TEST_KEYS` | keys of the restored table, 50 000 by default |
//! | `FAUST_TEST_SEED` | seed of the random moments, printed at the start of each scenario |

mod broker;
mod counts;
mod feed;
mod ledger;
mod lesson;
mod restore;
mod role;
mod scenario;
mod takeover;
mod work;

use std::time::Duration;

use self::broker::Broker;
use self::role::{Membership, role_test};
use self::scenario::{Scenario, Victim, kills};
use self::work::Work;

role_test!();

/// Events per second.
const RATE: u32 = 5_000;

/// Returns the minimum number of kills that must leave events to be replayed. Their moments are random, and some come
/// just after a commit, so it is lower than the number of kills.
fn telling_kills() -> u32 {
    kills() / 2
}

/// Returns the minimum if one of two workers is killed, which may have just been assigned its partitions, or none yet.
fn telling_kills_of_two() -> u32 {
    kills().div_ceil(4)
}

/// Runs agents with a `filter` and a `group_by`. If the broker is embedded, half of the kills include it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_loses_nothing() {
    let mut scenario = Scenario::start("killed", Work::FilterAndGroup, Broker::given_or_embedded().await, RATE).await;
    for kill in 0..kills() {
        // A static member takes over at once. With a dynamic one, the group waits for the session timeout.
        let membership = if kill % 7 == 3 { Membership::Dynamic } else { Membership::Static };
        let worker = scenario.worker(membership).await;
        scenario.await_progress().await;
        let victim = scenario.any_victim();
        scenario.kill(worker, victim).await;
    }
    scenario.finish(telling_kills()).await;
}

/// Each agent resumes from its own position: the slow agent misses no event, and the fast one keeps its lead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_agents_of_different_paces_lose_nothing() {
    let mut scenario = Scenario::start("paces", Work::TwoPaces, Broker::given_or_embedded().await, RATE).await;
    for _ in 0..kills() {
        let worker = scenario.worker(Membership::Static).await;
        scenario.await_progress().await;
        let victim = scenario.any_victim();
        scenario.kill(worker, victim).await;
    }
    assert!(scenario.saw_a_lead(), "no commit had one agent ahead of the other: the scenario proves nothing");
    scenario.finish(telling_kills()).await;
}

/// A commit covers an event in which the agent awaits either completely or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_awaits_in_an_event_loses_nothing() {
    let mut scenario = Scenario::start("awaits", Work::Awaiting, Broker::given_or_embedded().await, RATE).await;
    for _ in 0..kills() {
        let worker = scenario.worker(Membership::Static).await;
        scenario.await_progress().await;
        let victim = scenario.any_victim();
        scenario.kill(worker, victim).await;
    }
    scenario.finish(telling_kills()).await;
}

/// A second worker joins and leaves every few seconds, by `kill -9` and sometimes by Ctrl-C, while the first one runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rebalances_lose_nothing() {
    let mut scenario =
        Scenario::start("rebalanced", Work::FilterAndGroup, Broker::given_or_embedded().await, RATE).await;
    let first = scenario.worker(Membership::Dynamic).await;
    scenario.await_progress().await;
    for round in 0..kills() {
        if round % 4 == 1 {
            let mut passing = scenario.worker(Membership::Dynamic).await;
            scenario.await_partitions(&mut passing).await;
            scenario.interrupt(passing).await;
        }
        let mut second = scenario.worker(Membership::Dynamic).await;
        scenario.await_partitions(&mut second).await;
        scenario.random_pause(Duration::from_secs(2)).await;
        scenario.kill(second, Victim::Worker).await;
        scenario.await_progress().await;
    }
    scenario.interrupt(first).await;
    scenario.finish(telling_kills_of_two()).await;
}

/// Number of events to count in a scenario of full length.
const COUNTED: i64 = 500_000;

/// Two workers join and leave, mostly by `kill -9`. The table that they share counts each event once.
async fn counts_are_exact(name: &str, store: &'static str) {
    let broker = Broker::given_or_embedded().await;
    let mut scenario = Scenario::start(name, Work::Count, broker, RATE).await.storing(store);
    // The static member resumes its own partitions at once. When the dynamic one is killed, its partitions move.
    let memberships = [Membership::Static, Membership::Dynamic];
    let mut workers = [None, None];
    for round in 0..kills() {
        for (worker, membership) in workers.iter_mut().zip(memberships) {
            if worker.is_none() {
                let worker = worker.insert(scenario.worker(membership).await);
                scenario.await_partitions(worker).await;
            }
        }
        scenario.await_progress().await;
        let chosen = usize::try_from(scenario.choose(2)).unwrap();
        if round % 4 == 3 {
            scenario.interrupt(workers[1 - chosen].take().expect("both are running")).await;
        }
        scenario.kill(workers[chosen].take().expect("both are running"), Victim::Worker).await;
    }
    for worker in workers.into_iter().flatten() {
        scenario.interrupt(worker).await;
    }
    if kills() >= 20 {
        scenario.await_fed(COUNTED).await;
    }
    scenario.finish(telling_kills_of_two()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_workers_count_exactly_with_stores() {
    counts_are_exact("counted-sled", "sled://").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_workers_count_exactly_without_stores() {
    counts_are_exact("counted-memory", "memory://").await;
}

/// The broker is not running when the worker starts. Later it is killed and restarted on its port, then suspended and
/// resumed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unavailable_broker_loses_nothing() {
    let mut scenario = Scenario::start("away", Work::FilterAndGroup, Broker::own().await, RATE / 5).await;
    let away = if kills() < 20 { Duration::from_secs(5) } else { Duration::from_secs(20) };
    let worker = scenario.worker_before_broker(away / 4).await;
    scenario.await_progress().await;
    scenario.broker_killed_for(away).await;
    scenario.await_progress().await;
    scenario.broker_stopped_for(away).await;
    scenario.await_progress().await;
    // The same worker process has survived all of this.
    scenario.interrupt(worker).await;
    scenario.finish(0).await;
}
