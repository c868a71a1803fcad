//! An unkind network between workers and brokers, while workers join and leave: tables count each event once.
//!
//! `FAUST_TEST_SECONDS` is the time in which a worker joins or leaves every second, 10 by default. `FAUST_TEST_SEED` is the
//! seed of the random moments, which is printed. A run with few rebalances or few broken connections proves nothing: it takes
//! up to three times as long, and then fails.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use faust::prelude::*;
use faust::{AppBuilder, Worker};
use tokio::task::JoinHandle;

use crate::harness::{Cluster, LONG, Message, Proxy, Random, wait_for};

const TOPIC: &str = "nw-counted";
const PARTITIONS: usize = 8;
/// Workers that join and leave.
const WORKERS: usize = 5;

/// Counts the events of each key.
#[agent(topic = "nw-counted")]
async fn count(mut numbers: Stream<u64, String>, counts: Table<String, u64>) {
    while let Some(number) = numbers.next_event().await {
        counts.update(number.key(), |count| *count += 1);
    }
}

/// A worker, or its absence, once the last join or leave is done.
type Place = JoinHandle<Option<Worker>>;

/// The workers that join and leave, and what they did so far.
struct Crowd<'a> {
    cluster: &'a Cluster,
    proxy: Proxy,
    random: Random,
    places: Vec<Place>,
    moves: u64,
}

impl<'a> Crowd<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let mut random = Random::new("rebalances");
        let proxy = Proxy::start(cluster.bootstrap(), random.fork());
        let places = (0..WORKERS).map(|_| tokio::spawn(async { None })).collect();
        Self { cluster, proxy, random, places, moves: 0 }
    }

    fn app(&self, name: &str) -> AppBuilder {
        let app = self.cluster.app("nw").only::<count>().setting("datadir", self.cluster.dir(name).display());
        app.setting("broker_heartbeat_interval", "100ms")
    }

    /// Starts the first two workers, and waits until they have all partitions.
    async fn begin(&mut self) {
        for at in 0..2 {
            self.places[at] = self.join(at);
        }
        let id = self.cluster.id("nw");
        wait_for("the first commits", LONG, async || self.cluster.committed(&id, TOPIC).await.len() == PARTITIONS)
            .await;
    }

    /// Lets one worker join or leave, unless all are about to.
    async fn one_moves(&mut self) {
        let first = usize::try_from(self.random.below(WORKERS as u64)).unwrap();
        let still = (first..first + WORKERS).map(|at| at % WORKERS).find(|at| self.places[*at].is_finished());
        let Some(at) = still else { return };
        self.places[at] = match (&mut self.places[at]).await.unwrap() {
            Some(worker) => tokio::spawn(leave(worker)),
            None => self.join(at),
        };
        self.moves += 1;
    }

    fn join(&self, at: usize) -> Place {
        let app = self.app(&format!("worker-{at}")).setting("broker", self.proxy.bootstrap()).build().unwrap();
        tokio::spawn(async move { Some(app.start().await.expect("a worker starts")) })
    }

    /// Waits until all events are committed, and stops all workers.
    async fn finish(mut self, events: usize) {
        let mut here = Vec::new();
        for place in std::mem::take(&mut self.places) {
            here.extend(place.await.unwrap());
        }
        if here.is_empty() {
            let app = self.app("last").setting("broker", self.proxy.bootstrap()).build().unwrap();
            here.push(app.start().await.unwrap());
        }
        self.cluster.wait_done(&self.cluster.id("nw"), TOPIC, events).await;
        for worker in here {
            leave(worker).await;
        }
    }
}

/// Stops a worker, which must not have failed.
async fn leave(worker: Worker) -> Option<Worker> {
    tokio::time::timeout(LONG, worker.stop()).await.expect("the worker stops").expect("the worker ends cleanly");
    None
}

fn key(n: u64) -> String {
    format!("k{}", n % 211)
}

/// Produces 1 000 events per second until `stop` is set, past the proxy. Returns the number of events.
async fn feed(cluster: &Cluster, stop: &AtomicBool) -> u64 {
    let producer = cluster.producer(TOPIC);
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let mut fed = 0;
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        producer.send_all((fed..fed + 50).map(|n| Message::of(n.to_string()).key(key(n)))).await;
        fed += 50;
    }
    fed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebalance_every_second_behind_an_unkind_network_counts_exactly() {
    let given = std::env::var("FAUST_TEST_SECONDS").ok();
    let seconds: u64 = given.map_or(10, |text| text.parse().expect("FAUST_TEST_SECONDS is a number"));
    let cluster = Cluster::start().await;
    cluster.create(TOPIC, i32::try_from(PARTITIONS).unwrap()).await;
    let mut crowd = Crowd::new(&cluster);
    let (mut taken, mut rebalances, mut cuts) = (0, 0, 0);
    let is_significant = |rebalances: u64, cuts: u64| rebalances >= seconds.div_ceil(4) && cuts >= seconds.div_ceil(5);
    let stop = AtomicBool::new(false);
    let joins_and_leaves = async {
        crowd.begin().await;
        let before = (crowd.proxy.generation(), crowd.proxy.cuts());
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        while taken < seconds || (taken < 3 * seconds && !is_significant(rebalances, cuts)) {
            tick.tick().await;
            crowd.one_moves().await;
            taken += 1;
            (rebalances, cuts) = (crowd.proxy.generation() - before.0, crowd.proxy.cuts() - before.1);
        }
        tick.tick().await;
        stop.store(true, Ordering::Relaxed);
    };
    let (fed, ()) = tokio::join!(feed(&cluster, &stop), joins_and_leaves);
    let moves = crowd.moves;
    eprintln!("{taken} s: {fed} events, {moves} joins and leaves, {rebalances} rebalances, {cuts} broken connections");
    crowd.finish(usize::try_from(fed).unwrap()).await;

    let mut expected = BTreeMap::new();
    for n in 0..fed {
        *expected.entry(key(n)).or_insert(0_u64) += 1;
    }
    // A worker without a store reads the whole changelog.
    let app = cluster.app("nw").only::<count>().setting("datadir", cluster.dir("reader").display());
    let reader = cluster.run(app).await;
    let counts = reader.table::<String, u64>("counts").unwrap();
    wait_for("the restored table", LONG, async || counts.partitions().len() == PARTITIONS).await;
    let counted: BTreeMap<_, _> = counts.iter().unwrap().collect();
    reader.stop().await.unwrap();
    let wrong = |(key, count): &(&String, &u64)| counted.get(*key) != Some(count);
    let wrong: Vec<_> = expected.iter().filter(wrong).map(|(key, count)| (key, count, counted.get(key))).collect();
    assert!(
        wrong.is_empty() && counted.len() == expected.len(),
        "keys that are wrong, with expected and actual: {wrong:?}"
    );
    assert!(is_significant(rebalances, cuts), "{rebalances} rebalances and {cuts} broken connections prove nothing");
}

/// The first commit of a table comes before its first changelog record: a worker that has looked for commits before it, and
/// then finds the record, must not take the commit for lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_starts_while_another_makes_the_first_commit_finds_it() {
    let cluster = Cluster::start().await;
    let proxy = Proxy::start(cluster.bootstrap(), Random::new("first-commit"));
    cluster.create("nw-first", 1).await;
    let app = |name: &str| {
        let app = cluster.app("nw-first").setting("datadir", cluster.dir(name).display());
        app.only::<count>().agent_with::<count>(|agent| agent.topic("nw-first"))
    };
    // Creates the changelog.
    cluster.run(app("before")).await.stop().await.unwrap();
    cluster.delete_group(&cluster.id("nw-first")).await;

    proxy.hold_after_committed_offsets();
    let late = app("late").setting("broker", proxy.bootstrap()).build().unwrap();
    let late = tokio::spawn(async move { late.start().await });
    wait_for("the look-up of commits", LONG, async || proxy.is_holding()).await;
    let first = cluster.run(app("first")).await;
    cluster.produce("nw-first", (0..100).map(|n| Message::of(n.to_string()).key(key(n)))).await;
    cluster.wait_done(&cluster.id("nw-first"), "nw-first", 100).await;
    proxy.release();
    let late = late.await.unwrap().expect("the worker starts");
    leave(first).await;
    leave(late).await;
}
