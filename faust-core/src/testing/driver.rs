//! The test driver.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::disk::Disks;
use super::table::{TestTable, TestWindowedTable};
use crate::app::{App, AppBuilder};
use crate::codec::{Coder, Data, Role};
use crate::error::{Error, TransportError};
use crate::message::{Headers, OwnedMessage};
use crate::stage::outbox::Outbox;
use crate::table_state::TableValue;
use crate::time::{Timestamp, millis};
use crate::topic::{SendOptions, Topic};
use crate::transport::memory::MemoryCluster;
use crate::transport::{NewTopic, Read, StartAt, TopicPartition, Transport};
use crate::worker::{Status, Worker};

/// An app under test, with its own Kafka and clock.
pub struct TestDriver {
    // Before the runtime: workers end on it.
    workers: Vec<Option<Worker>>,
    disks: Disks,
    app: App,
    cluster: MemoryCluster,
    outbox: Arc<Outbox>,
    runtime: Runtime,
}

/// A worker of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId(usize);

/// A message as it lies in a topic.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TestMessage {
    /// The partition it is in.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its time.
    pub timestamp: Timestamp,
    /// Its key, if it has one.
    pub key: Option<Vec<u8>>,
    /// Its payload; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Headers,
}

/// 2026-01-01 00:00:00 UTC: when every driver's clock begins.
pub const START: Timestamp = Timestamp(1_767_225_600_000);

/// Turns without anything happening after which a driver is idle: more than any hand-over in the engine takes.
const QUIET_TURNS: u32 = 40;

/// How long a store may be at work while nothing else happens, by the system's clock.
const STORING: Duration = Duration::from_secs(180);

impl TestDriver {
    /// Builds the app; nothing runs yet.
    ///
    /// # Errors
    /// The app's faults.
    pub fn new(app: AppBuilder) -> Result<Self, Error> {
        Self::seeded(app, 0)
    }

    /// As [`new`](Self::new), with a seed for whatever the cluster has to choose.
    ///
    /// # Errors
    /// The app's faults.
    pub fn seeded(app: AppBuilder, seed: u64) -> Result<Self, Error> {
        let app = app.build()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.map_err(|error| Error::Misuse(format!("the test driver needs a runtime: {error}")))?;
        let start = runtime.block_on(async { Instant::now() });
        let clock = move || Timestamp(START.0 + millis(start.elapsed()));
        let cluster = MemoryCluster::new(seed, app.settings().broker_session_timeout, clock);
        let outbox = Outbox::new(cluster.sink()?, Arc::default(), String::new());
        let disks = Disks::new(&app);
        Ok(Self { workers: Vec::new(), disks, app, cluster, outbox, runtime })
    }

    /// Starts a worker of the app and runs until it is idle.
    ///
    /// # Errors
    /// What a worker's start can fail with: faults of the topology, topics that do not fit.
    pub fn start_worker(&mut self) -> Result<WorkerId, Error> {
        let worker = self.start()?;
        self.workers.push(Some(worker));
        self.run_until_idle();
        Ok(WorkerId(self.workers.len() - 1))
    }

    fn start(&mut self) -> Result<Worker, Error> {
        let turn = || self.runtime.block_on(tokio::task::yield_now());
        let stores = self.disks.open(self.app.settings(), turn)?;
        self.runtime.block_on(async {
            let start = self.app.start_on(Arc::new(self.cluster.clone()), stores);
            tokio::pin!(start);
            // Polled by turns rather than awaited: a runtime that sleeps would move the clock.
            loop {
                if let Some(worker) = start.as_mut().now_or_never() {
                    return worker;
                }
                tokio::task::yield_now().await;
            }
        })
    }

    /// Runs everything that can run without time passing.
    pub fn run_until_idle(&mut self) {
        let workers: Vec<_> = self.workers.iter().flatten().collect();
        self.runtime.block_on(settle(&self.cluster, &workers));
    }

    /// Lets time pass: timers fire in order, each followed by all that it sets in motion.
    pub fn advance(&mut self, by: Duration) {
        let workers: Vec<_> = self.workers.iter().flatten().collect();
        self.runtime.block_on(async {
            let end = Instant::now() + by;
            settle(&self.cluster, &workers).await;
            loop {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                // Small steps, so that what one timer sets in motion is seen by the next.
                tokio::time::advance(left.min(Duration::from_millis(10))).await;
                settle(&self.cluster, &workers).await;
            }
        });
    }

    /// Lets the commit interval pass, so that what is done is committed.
    pub fn commit(&mut self) {
        self.advance(self.app.settings().broker_commit_interval);
    }

    /// The driver's clock.
    pub fn now(&self) -> Timestamp {
        self.runtime.block_on(async { self.cluster.time() })
    }

    /// Creates a topic, before or beside those the app declares.
    ///
    /// # Errors
    /// A name or a count Kafka refuses.
    pub fn create_topic(&mut self, name: &str, partitions: i32) -> Result<(), Error> {
        let topic = NewTopic { name: name.to_owned(), partitions, replication: 1, configs: BTreeMap::new() };
        let admin = self.cluster.admin()?;
        let created = admin.create(vec![topic]).now_or_never();
        created.unwrap_or(Ok(())).map_err(Error::from)
    }

    /// Sends a message into a topic, at the driver's time.
    ///
    /// # Errors
    /// The topic does not exist, or the value cannot be encoded.
    pub fn send<K: Data, V: Data>(&mut self, topic: &str, key: &K, value: &V) -> Result<(), Error> {
        self.send_with(topic, key, value, |message| message)
    }

    /// Sends a message with a chosen partition, time or headers.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_with<K: Data, V: Data>(
        &mut self,
        topic: &str,
        key: &K,
        value: &V,
        options: impl FnOnce(SendOptions) -> SendOptions,
    ) -> Result<(), Error> {
        let topic = Topic::<K, V>::outside(topic, &self.outbox)?;
        // Inside, where the clock is the driver's.
        self.runtime.block_on(async { topic.send_with(key, value, options).await })
    }

    /// Everything in a topic, decoded, partition by partition.
    ///
    /// # Errors
    /// The topic does not exist, or something in it is not of these types.
    pub fn read<K: Data, V: Data>(&mut self, topic: &str) -> Result<Vec<(K, V)>, Error> {
        let fault = |why: String| Error::Misuse(format!("topic `{topic}`: {why}"));
        let key: Coder<K> = Coder::resolve(None, Role::Key).map_err(|why| fault(why.to_string()))?;
        let value: Coder<V> = Coder::resolve(None, Role::Value).map_err(|why| fault(why.to_string()))?;
        let decode = |message: TestMessage| {
            let key = key.decode(message.key.as_deref())?;
            Ok((key, value.decode(message.payload.as_deref())?))
        };
        let decoded: Result<_, crate::codec::DecodeError> = self.messages(topic)?.into_iter().map(decode).collect();
        decoded.map_err(|why| fault(why.to_string()))
    }

    /// Everything in a topic as it lies there, partition by partition.
    ///
    /// # Errors
    /// The topic does not exist.
    pub fn messages(&mut self, topic: &str) -> Result<Vec<TestMessage>, Error> {
        let partitions = self.partitions(topic)?;
        let mut reader = self.cluster.read(partitions.iter().map(|p| (p.clone(), StartAt::Earliest)).collect())?;
        let mut found = Vec::new();
        let mut open = partitions.len();
        while open > 0 {
            // At the ends there is nothing to wait for, and nothing is waited for.
            match self.runtime.block_on(async { reader.next(Duration::ZERO).await })? {
                Some(Read::Message(partition, message)) => found.push(TestMessage::new(&partition, message)),
                Some(Read::End(_)) => open -= 1,
                None => break,
            }
        }
        found.sort_by_key(|message| (message.partition, message.offset));
        Ok(found)
    }

    /// What the app has committed of a topic, by partition.
    ///
    /// # Errors
    /// The topic does not exist.
    pub fn committed(&mut self, topic: &str) -> Result<BTreeMap<i32, i64>, Error> {
        let partitions = self.partitions(topic)?;
        let group = self.app.settings().group();
        let committed = self
            .cluster
            .admin()?
            .committed(&group, partitions)
            .now_or_never()
            .unwrap_or_else(|| Ok(BTreeMap::new()))?;
        Ok(committed.into_iter().map(|(partition, committed)| (partition.partition, committed.offset)).collect())
    }

    /// The partitions a worker has.
    pub fn assignment(&self, worker: WorkerId) -> Vec<TopicPartition> {
        self.status(worker).map_or_else(Vec::new, |status| status.assignment)
    }

    /// What a worker is doing; `None` once it has stopped or crashed.
    pub fn status(&self, worker: WorkerId) -> Option<Status> {
        self.workers.get(worker.0)?.as_ref().map(Worker::status)
    }

    /// Ends a worker in order: it finishes, commits and leaves.
    ///
    /// # Errors
    /// Why it had ended before, if it had.
    pub fn stop(&mut self, worker: WorkerId) -> Result<(), Error> {
        if self.status(worker).is_none() {
            return Ok(());
        }
        self.begin_stop(worker);
        let outcome = self.outcome(worker);
        self.disks.free(worker.0);
        if let Some(worker) = self.workers.get_mut(worker.0) {
            *worker = None;
        }
        outcome
    }

    /// Asks a worker to end, and runs what that sets in motion without time passing: to do something in the middle of its
    /// end. [`stop`](Self::stop) must follow.
    pub fn begin_stop(&mut self, worker: WorkerId) {
        if let Some(Some(worker)) = self.workers.get(worker.0) {
            // On the driver's clock: the time it has to end is counted from now.
            let _inside = self.runtime.enter();
            worker.begin_stop();
        }
        self.run_until_idle();
    }

    /// Why a worker has ended by itself; `None` while it runs.
    pub fn ended(&mut self, worker: WorkerId) -> Option<Result<(), Error>> {
        let worker = self.workers.get(worker.0)?.as_ref()?;
        self.runtime.block_on(async { worker.wait().now_or_never() })
    }

    fn outcome(&mut self, worker: WorkerId) -> Result<(), Error> {
        if let Some(outcome) = self.ended(worker) {
            return outcome;
        }
        // An agent that will not return is given the shutdown timeout.
        let patience = self.app.settings().shutdown_timeout + Duration::from_secs(1);
        self.advance(patience);
        self.ended(worker).unwrap_or(Ok(()))
    }

    /// Kills a worker: nothing is finished, nothing committed, and the group misses it after the session timeout.
    pub fn crash(&mut self, worker: WorkerId) {
        if let Some(running) = self.workers.get_mut(worker.0).and_then(Option::take) {
            let _inside = self.runtime.enter();
            running.crash();
            self.disks.free(worker.0);
        }
        self.run_until_idle();
    }

    /// Lets things go on for so many turns of the scheduler, and no time pass: to crash a worker in the middle of
    /// something.
    pub fn run_turns(&mut self, turns: u32) {
        self.runtime.block_on(async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Empties the disk of a worker that does not run, as if its machine had been replaced.
    ///
    /// # Errors
    /// The directory cannot be removed.
    pub fn lose_disk(&mut self, worker: WorkerId) -> Result<(), Error> {
        self.disks.lose(worker.0, self.app.settings())
    }

    /// A table of the app, to read and to write in a test. What is written is committed with the next commit.
    ///
    /// # Errors
    /// There is no such table, or it has other types.
    pub fn table<K: Data, V: TableValue>(&self, name: &str) -> Result<TestTable<K, V>, Error> {
        let views = self.workers.iter().flatten().map(|worker| worker.table(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(TestTable::new(views))
    }

    /// A windowed table of the app, as [`table`](Self::table).
    ///
    /// # Errors
    /// As [`table`](Self::table).
    pub fn windowed_table<K: Data, V: TableValue>(&self, name: &str) -> Result<TestWindowedTable<K, V>, Error> {
        let running = self.workers.iter().flatten();
        let views = running.map(|worker| worker.windowed_table(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(TestWindowedTable::new(views))
    }

    /// Crashes a worker and starts another in its place, once the group has missed the first.
    ///
    /// # Errors
    /// As [`start_worker`](Self::start_worker).
    pub fn restart(&mut self, worker: WorkerId) -> Result<WorkerId, Error> {
        self.crash(worker);
        self.advance(self.app.settings().broker_session_timeout + Duration::from_millis(10));
        self.start_worker()
    }

    /// The cluster, for faults that a test wants to make.
    pub fn cluster(&self) -> &MemoryCluster {
        &self.cluster
    }

    fn partitions(&self, topic: &str) -> Result<Vec<TopicPartition>, Error> {
        let admin = self.cluster.admin()?;
        let found = admin.topics(Some(vec![topic.to_owned()])).now_or_never().unwrap_or_else(|| Ok(BTreeMap::new()))?;
        let count =
            found.get(topic).ok_or_else(|| TransportError::fatal(format!("topic `{topic}`"), "it does not exist"))?;
        Ok((0..*count).map(|partition| TopicPartition::new(topic, partition)).collect())
    }
}

/// Gives every task its turns until nothing has happened for long.
async fn settle(cluster: &MemoryCluster, workers: &[&Worker]) {
    // A store that waits for a restore would wait in the system's time for what the driver's time brings.
    let _hurried: Vec<_> = workers.iter().map(|worker| worker.prioritize_stores()).collect();
    let mut seen = cluster.activity();
    let mut quiet = 0;
    let mut storing_since = None;
    while quiet < QUIET_TURNS {
        // The runtime never sleeps while this yields, so the paused clock stands still.
        tokio::task::yield_now().await;
        let now = cluster.activity();
        if now == seen {
            quiet += 1;
        } else {
            (quiet, storing_since) = (0, None);
        }
        seen = now;
        // Stores work on threads of their own, which only the system's clock moves.
        if quiet + 1 < QUIET_TURNS || !workers.iter().any(|worker| worker.is_storing()) {
            continue;
        }
        let since = *storing_since.get_or_insert_with(std::time::Instant::now);
        assert!(
            since.elapsed() < STORING,
            "a store has been at work for {STORING:?} of the system's time: the disk stands still, or this is a mistake in the driver, to be reported"
        );
        std::thread::yield_now();
        quiet = 0;
    }
}

impl TestMessage {
    fn new(partition: &TopicPartition, message: OwnedMessage) -> Self {
        Self {
            partition: partition.partition,
            offset: message.offset,
            timestamp: message.timestamp,
            key: message.key.map(Into::into),
            payload: message.payload.map(Into::into),
            headers: message.headers,
        }
    }
}

impl Drop for TestDriver {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        self.workers.drain(..).flatten().for_each(|worker| worker.crash());
    }
}

impl std::fmt::Debug for TestDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestDriver").field("app", &self.app).finish_non_exhaustive()
    }
}
