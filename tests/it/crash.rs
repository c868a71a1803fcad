//! `kill -9` at random moments, of the worker and of the broker: what is committed is done, and in the end nothing is missing.
//!
//! Numbered events are fed at 5 000 a second to a worker in a process of its own. After each kill an admin client reads
//! the committed offsets, and every output expected below them must lie in its topic. A run whose kills hardly ever left
//! anything to be replayed proves nothing and fails.
//!
//! | Variable | Meaning |
//! |---|---|
//! | `FAUST_TEST_KAFKA` | run against this Kafka; otherwise the durable embedded broker, which is killed as well |
//! | `FAUST_TEST_KILLS` | kills in each scenario, 4 by default; 20 also makes the other scenarios as long as they should be |
//! | `FAUST_TEST_KEYS` | keys of the table that is restored, 50 000 by default |
//! | `FAUST_TEST_SEED` | the seed of the random moments, printed at the start of each scenario |

mod broker;
mod counts;
mod feed;
mod ledger;
mod random;
mod restore;
mod role;
mod scenario;
mod work;

use std::time::Duration;

use self::broker::Broker;
use self::role::{Membership, role_test};
use self::scenario::{Scenario, Victim, kills};
use self::work::Work;

role_test!();

/// Events a second.
const RATE: u32 = 5_000;

/// How many kills must have left events that were replayed. Their moments are random, and now and then one comes just
/// after a commit: this asks for enough, not for luck.
fn telling_kills() -> u32 {
    kills() / 2
}

/// The same where one of two workers is killed: it may just have had its partitions, or be about to get them.
fn telling_kills_of_two() -> u32 {
    kills().div_ceil(4)
}

/// Feeds through a `filter` and through a `group_by`; with the embedded broker, that is killed every other time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_loses_nothing() {
    let mut scenario = Scenario::start("killed", Work::FilterAndGroup, Broker::given_or_embedded().await, RATE).await;
    for kill in 0..kills() {
        // A worker with a lasting name takes over at once; one without makes the group wait for the session to end.
        let membership = if kill % 7 == 3 { Membership::Dynamic } else { Membership::Static };
        let worker = scenario.worker(membership).await;
        scenario.await_progress().await;
        let victim = scenario.any_victim();
        scenario.kill(worker, victim).await;
    }
    scenario.finish(telling_kills()).await;
}

/// Each agent goes on where it stood itself: the slow one misses nothing, and the fast one's lead is not forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_agents_of_different_paces_lose_nothing() {
    let mut scenario = Scenario::start("paces", Work::TwoPaces, Broker::given_or_embedded().await, RATE).await;
    for _ in 0..kills() {
        let worker = scenario.worker(Membership::Static).await;
        scenario.await_progress().await;
        let victim = scenario.any_victim();
        scenario.kill(worker, victim).await;
    }
    assert!(scenario.saw_a_lead(), "no commit ever found one agent ahead of the other: the scenario proves nothing");
    scenario.finish(telling_kills()).await;
}

/// An event in which the agent awaits is done as a whole or not at all, as far as commits are concerned.
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

/// A second worker comes and goes every few seconds, by `kill -9` and now and then by Ctrl-C, while the first one works on.
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

/// Events that the workers count, when the scenario is as long as it should be.
const COUNTED: i64 = 500_000;

/// Two workers come and go, most of them by `kill -9`; the table that they share counts each event once.
async fn counts_are_exact(name: &str, store: &'static str) {
    let broker = Broker::given_or_embedded().await;
    let mut scenario = Scenario::start(name, Work::Count, broker, RATE).await.storing(store);
    // One takes over from itself at once; when the other is killed, its partitions move.
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
            scenario.interrupt(workers[1 - chosen].take().expect("both run")).await;
        }
        scenario.kill(workers[chosen].take().expect("both run"), Victim::Worker).await;
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

/// The broker is away when the worker starts; later it is killed and comes back on its port; then it stands still and goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_costs_nothing() {
    let mut scenario = Scenario::start("away", Work::FilterAndGroup, Broker::own().await, RATE / 5).await;
    let away = if kills() < 20 { Duration::from_secs(5) } else { Duration::from_secs(20) };
    let worker = scenario.worker_before_broker(away / 4).await;
    scenario.await_progress().await;
    scenario.broker_killed_for(away).await;
    scenario.await_progress().await;
    scenario.broker_stopped_for(away).await;
    scenario.await_progress().await;
    // The same process has lived through it all.
    scenario.interrupt(worker).await;
    scenario.finish(0).await;
}
