//! A scenario: a broker, a feed, workers that are killed, and invariants that are checked after each kill and at the
//! end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use faust::testing::committed_position;
use faust::transport::{Admin, Committed, NewTopic, TopicPartition, TransportError};
use faust::{App, Offset};
use tempfile::TempDir;

use super::broker::Broker;
use super::counts::assert_counts;
use super::feed::Feed;
use super::ledger::{Ledger, partitions, watermarks};
use super::role::{Membership, Process, WorkerRole};
use super::work::{Link, Work};
use crate::harness::{LONG, Random, wait_for};

/// Number of partitions of every topic.
pub(super) const PARTITIONS: u64 = 4;

/// A timeout that is long enough to write a million keys in an unoptimised build on a busy machine.
pub(super) const VERY_LONG: Duration = Duration::from_secs(600);

/// Time for the worker to catch up at the end, because the feed gets ahead of it on a busy machine.
const CATCH_UP: Duration = Duration::from_secs(180);

/// Returns the number of kills per scenario.
pub(super) fn kills() -> u32 {
    let given = std::env::var("FAUST_TEST_KILLS").ok();
    given.map_or(4, |text| text.parse().expect("FAUST_TEST_KILLS is a number"))
}

/// Returns the number of keys of a table, which `FAUST_TEST_KEYS` sets.
pub(super) fn keys(default: u64) -> u64 {
    let given = std::env::var("FAUST_TEST_KEYS").ok();
    given.map_or(default, |text| text.parse().expect("FAUST_TEST_KEYS is a number"))
}

/// The processes to kill together.
#[derive(Clone, Copy, Debug)]
pub(super) enum Victim {
    Worker,
    /// First the broker, then the worker, which has lost its connection by then.
    BrokerThenWorker,
    /// First the worker, then the broker, which has just acknowledged the worker's last messages.
    WorkerThenBroker,
}

/// A running scenario.
pub(super) struct Scenario {
    id: String,
    input: String,
    work: Work,
    /// The workers' setting `store`, if they have tables.
    store: Option<&'static str>,
    links: Vec<Link>,
    random: Random,
    dir: TempDir,
    admin: Arc<dyn Admin>,
    ledger: Ledger,
    /// The feed, until it is stopped.
    feed: Option<Feed>,
    workers: u32,
    /// Outputs of uncommitted events, as topic and number, for each kill that left any.
    replayed: Vec<BTreeSet<(String, u64)>>,
    kills: u32,
    saw_a_lead: bool,
    began: Instant,
    /// The last field, so that the broker is dropped after all its clients.
    broker: Broker,
}

impl Scenario {
    /// Creates the topics and starts the feed with a rate of `per_second`.
    pub(super) async fn start(name: &str, work: Work, broker: Broker, per_second: u32) -> Self {
        let random = Random::new(name);
        let run = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap();
        let id = format!("crash-{name}-{run}");
        let input = format!("{id}.numbers");
        let links = work.links(&id, &input);
        let client = App::new("crash-admin").setting("broker", broker.bootstrap()).client().await.unwrap();
        let admin = client.transport().admin().unwrap();
        let topics: BTreeSet<_> = links.iter().flat_map(|link| [link.from.clone(), link.to.clone()]).collect();
        let topics: Vec<_> = topics.into_iter().collect();
        declare(&*admin, &topics).await;
        let ledger = Ledger::begin(&client, &topics, run).await;
        let feed = Some(Feed::start(broker.bootstrap(), &input, run, per_second).await);
        let dir = tempfile::tempdir().unwrap();
        let (workers, replayed, kills, saw_a_lead, began) = (0, Vec::new(), 0, false, Instant::now());
        Self {
            id,
            input,
            work,
            store: None,
            links,
            random,
            dir,
            admin,
            ledger,
            feed,
            workers,
            replayed,
            kills,
            saw_a_lead,
            began,
            broker,
        }
    }

    /// Sets the store in which workers keep the table `counts`.
    pub(super) fn storing(self, store: &'static str) -> Self {
        Self { store: Some(store), ..self }
    }

    /// Starts a worker.
    pub(super) async fn worker(&mut self, membership: Membership) -> Process {
        self.workers += 1;
        let Self { id, input, work, broker, store, .. } = self;
        let role = WorkerRole { work: *work, id, input, bootstrap: broker.bootstrap(), membership, store: *store };
        // What repeats shows that a kill left something to be processed again: under exactly-once, nothing does.
        let guarantee = [("FAUST_TEST_GUARANTEE", "at_least_once")];
        Process::worker(self.dir.path(), &format!("worker-{}", self.workers), &role, &guarantee)
    }

    /// Waits until all outputs have grown.
    pub(super) async fn await_progress(&self) {
        let before = self.outputs().await;
        wait_for("outputs of the worker", LONG, async || {
            let now = self.outputs().await;
            before.iter().all(|(topic, count)| now[topic] > *count)
        })
        .await;
        self.say("all outputs have grown");
    }

    /// Waits until the worker has partitions.
    pub(super) async fn await_partitions(&self, worker: &mut Process) {
        wait_for("partitions of a worker", LONG, async || worker.is_ready()).await;
        self.say("the worker has partitions");
    }

    /// Waits until `count` events have been fed.
    pub(super) async fn await_fed(&self, count: i64) {
        wait_for(&format!("{count} events to be fed"), CATCH_UP, async || self.count(&self.input).await >= count).await;
    }

    /// Returns a random number below `end`.
    pub(super) fn choose(&mut self, end: u64) -> u64 {
        self.random.below(end)
    }

    /// Sleeps for a random time, so that the moment of a kill is independent of the worker's activity.
    pub(super) async fn random_pause(&mut self, most: Duration) {
        tokio::time::sleep(self.random.while_below(most)).await;
    }

    /// Chooses the processes to kill next.
    pub(super) fn any_victim(&mut self) -> Victim {
        match self.random.below(4) {
            0 if self.broker.is_ours() => Victim::BrokerThenWorker,
            1 if self.broker.is_ours() => Victim::WorkerThenBroker,
            _ => Victim::Worker,
        }
    }

    /// Kills at a random moment at which there are uncommitted events, then checks the invariants.
    pub(super) async fn kill(&mut self, mut worker: Process, victim: Victim) {
        self.random_pause(Duration::from_millis(1500)).await;
        wait_for("uncommitted events", LONG, async || self.uncommitted().await > 0).await;
        worker.assert_alive();
        match victim {
            Victim::Worker => worker.kill(),
            Victim::BrokerThenWorker => {
                self.broker.kill();
                self.random_pause(Duration::from_millis(300)).await;
                worker.kill();
                self.restart_broker().await;
            }
            Victim::WorkerThenBroker => {
                worker.kill();
                self.broker.kill();
                self.restart_broker().await;
            }
        }
        self.kills += 1;
        self.say(&format!("killed: {victim:?}"));
        let left = self.check(&format!("after kill {} ({victim:?})", self.kills)).await;
        if !left.is_empty() {
            self.replayed.push(left);
        }
    }

    /// Stops a worker by Ctrl-C, then checks the invariants.
    pub(super) async fn interrupt(&mut self, mut worker: Process) {
        worker.assert_alive();
        worker.interrupt().await;
        self.say("the worker has stopped");
        self.check("after a Ctrl-C").await;
    }

    /// Kills the broker and restarts it after the given time.
    pub(super) async fn broker_killed_for(&mut self, away: Duration) {
        self.broker.kill();
        tokio::time::sleep(away).await;
        self.restart_broker().await;
        self.check("after the broker was killed").await;
    }

    /// Starts a worker while the broker is down, and restarts the broker after the given time.
    pub(super) async fn worker_before_broker(&mut self, away: Duration) -> Process {
        self.broker.kill();
        let mut worker = self.worker(Membership::Dynamic).await;
        tokio::time::sleep(away).await;
        worker.assert_alive();
        self.restart_broker().await;
        worker
    }

    /// Suspends the broker for the given time.
    pub(super) async fn broker_stopped_for(&mut self, away: Duration) {
        self.broker.freeze();
        tokio::time::sleep(away).await;
        self.broker.thaw();
        self.check("after the broker was suspended").await;
    }

    /// Returns whether any commit had one agent ahead of another.
    pub(super) fn saw_a_lead(&self) -> bool {
        self.saw_a_lead
    }

    /// Stops the feed, lets a last worker process all remaining events, and checks that no output is missing.
    ///
    /// At least `valid` kills must have left events that were replayed.
    pub(super) async fn finish(mut self, valid: u32) {
        let mut worker = self.worker(Membership::Static).await;
        let fed = self.feed.take().expect("a scenario finishes once").stop().await;
        let froms: BTreeSet<_> = self.links.iter().map(|link| link.from.clone()).collect();
        wait_for("everything to be committed", CATCH_UP, async || {
            worker.assert_alive();
            self.ledger.catch_up().await;
            let ends: BTreeMap<_, _> = froms.iter().flat_map(|from| self.ledger.ends(from)).collect();
            let committed = self.committed().await;
            ends.iter().all(|(place, end)| *end == committed.get(place).map_or(Offset(0), |committed| committed.offset))
        })
        .await;
        self.say("everything is committed");
        self.interrupt(worker).await;
        self.assert_input(fed);
        self.assert_complete(fed);
        if self.store.is_some() {
            assert_counts(self.work, &self.id, &self.input, self.broker.bootstrap(), fed).await;
            self.say("all counts are correct");
        }
        let replayed =
            self.replayed.iter().filter(|left| left.iter().any(|(to, n)| self.ledger.times(to, *n) > 1)).count();
        eprintln!(
            "{}: {fed} events, {} kills, {replayed} of which left events that were replayed",
            self.id, self.kills
        );
        assert!(
            replayed >= valid as usize,
            "only {replayed} of {} kills left events that were replayed: the run proves nothing",
            self.kills
        );
    }

    /// Asserts that the input has each number once, in order. A broker that loses or repeats messages would invalidate
    /// all other checks.
    fn assert_input(&self, fed: u64) {
        for place in partitions(&self.input) {
            let numbers: Vec<_> = self.ledger.numbers(&place).iter().map(|(_, n)| *n).collect();
            let first = u64::try_from(place.partition).unwrap();
            let expected: Vec<_> = (first..fed).step_by(usize::try_from(PARTITIONS).unwrap()).collect();
            let differs = numbers.iter().zip(&expected).position(|(is, should)| is != should);
            assert!(
                numbers == expected,
                "{place} has {} numbers of {}; the first difference is at index {differs:?}",
                numbers.len(),
                expected.len()
            );
        }
    }

    fn assert_complete(&self, fed: u64) {
        for link in &self.links {
            let missing: Vec<_> =
                (0..fed).filter(|n| (link.wants)(*n) && self.ledger.times(&link.to, *n) == 0).collect();
            let unwanted = (0..fed).find(|n| !(link.wants)(*n) && self.ledger.times(&link.to, *n) > 0);
            assert!(
                missing.is_empty(),
                "{} of {fed} are missing in `{}`, first {:?}",
                missing.len(),
                link.to,
                missing.first()
            );
            assert_eq!(unwanted, None, "`{}` has an event that should have been filtered out", link.to);
        }
    }

    /// Checks the invariants: every committed event has its outputs. Returns the outputs of uncommitted events, which
    /// will be replayed.
    async fn check(&mut self, when: &str) -> BTreeSet<(String, u64)> {
        // IMPORTANT: read the commits first: later outputs do no harm, but later commits would.
        let committed = self.committed().await;
        self.ledger.catch_up().await;
        self.say(&format!("checking {when}"));
        let mut left = BTreeSet::new();
        for link in &self.links {
            for place in partitions(&link.from) {
                let Some(committed) = committed.get(&place) else { continue };
                let position = committed_position(&committed.metadata, &place.topic, link.stage);
                let lead = position.filter(|position| *position > committed.offset);
                self.saw_a_lead |= lead.is_some();
                let done = lead.unwrap_or(committed.offset);
                for &(offset, n) in self.ledger.numbers(&place) {
                    let times = self.ledger.times(&link.to, n);
                    if offset < done {
                        let expected = (link.wants)(n);
                        assert!(
                            !expected || times > 0,
                            "{when}: `{}` is committed up to {done} in {place}, but {n}, at {offset}, is not in `{}`",
                            link.stage,
                            link.to
                        );
                    } else if times > 0 {
                        left.insert((link.to.clone(), n));
                    }
                }
            }
        }
        left
    }

    async fn committed(&self) -> BTreeMap<TopicPartition, Committed> {
        let froms: BTreeSet<_> = self.links.iter().map(|link| &link.from).collect();
        let of: Vec<_> = froms.into_iter().flat_map(|from| partitions(from)).collect();
        let mut committed = None;
        wait_for("committed offsets", LONG, async || {
            let answer = self.admin.committed(&self.id, Vec::clone(&of)).await;
            assert!(answer.as_ref().err().is_none_or(TransportError::is_retriable), "{answer:?}");
            committed = answer.ok();
            committed.is_some()
        })
        .await;
        committed.unwrap()
    }

    /// Returns the number of produced events of the input that are not committed.
    async fn uncommitted(&self) -> i64 {
        let committed: i64 = self
            .committed()
            .await
            .iter()
            .filter(|(place, _)| *place.topic == *self.input)
            .map(|(_, committed)| committed.offset.0)
            .sum();
        self.count(&self.input).await - committed
    }

    async fn outputs(&self) -> BTreeMap<String, i64> {
        let mut counts = BTreeMap::new();
        for link in &self.links {
            counts.insert(link.to.clone(), self.count(&link.to).await);
        }
        counts
    }

    async fn count(&self, topic: &str) -> i64 {
        let watermarks = watermarks(&*self.admin, partitions(topic)).await;
        watermarks.values().map(|(_, high)| high.0).sum()
    }

    /// Prints an event of the scenario with its time, for the analysis of a failed run.
    fn say(&self, what: &str) {
        eprintln!("{:>8.2} s  {}: {what}", self.began.elapsed().as_secs_f32(), self.id);
    }

    async fn restart_broker(&mut self) {
        self.broker.start();
        self.say("the broker has been restarted");
        let topics = vec![self.input.clone()];
        wait_for("a broker response", LONG, async || self.admin.topics(Some(topics.clone())).await.is_ok()).await;
    }
}

async fn declare(admin: &dyn Admin, topics: &[String]) {
    let partitions = i32::try_from(PARTITIONS).unwrap();
    let new = |name: &String| NewTopic { name: name.clone(), partitions, replication: 1, configs: BTreeMap::new() };
    let all: Vec<_> = topics.iter().map(new).collect();
    wait_for("the topics", LONG, async || admin.create(all.clone()).await.is_ok()).await;
}
