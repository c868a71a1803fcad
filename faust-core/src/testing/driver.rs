//! The test driver and its API.

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
    // IMPORTANT: declared before the runtime, because dropping workers needs it.
    workers: Vec<Option<Worker>>,
    disks: Disks,
    app: App,
    cluster: MemoryCluster,
    outbox: Arc<Outbox>,
    runtime: Runtime,
}

/// The identifier of a worker of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId(usize);

/// A message as stored in a topic.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TestMessage {
    /// Partition of the message.
    pub partition: i32,
    /// Offset within the partition.
    pub offset: i64,
    /// Timestamp of the message.
    pub timestamp: Timestamp,
    /// Key, if there is one.
    pub key: Option<Vec<u8>>,
    /// Payload; `None` for a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Headers of the message.
    pub headers: Headers,
}

/// The initial time of every driver's clock: 2026-01-01 00:00:00 UTC.
pub const START: Timestamp = Timestamp(1_767_225_600_000);

/// Number of scheduler turns without activity after which a driver counts as idle: more than any chain of wake-ups in
/// the engine takes.
const QUIET_TURNS: u32 = 40;

/// Maximum time a store may be busy without any other activity, by the system's clock.
const STORING: Duration = Duration::from_secs(180);

impl TestDriver {
    /// Builds the app and an empty cluster, without starting a worker.
    ///
    /// # Errors
    /// The app's configuration or declarations are invalid.
    pub fn new(app: AppBuilder) -> Result<Self, Error> {
        Self::seeded(app, 0)
    }

    /// Like [`new`](Self::new), with a seed for the random choices of the cluster.
    ///
    /// # Errors
    /// The app's configuration or declarations are invalid.
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
    /// The worker cannot start: the topology is invalid, or existing topics do not match it.
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
            // Polled in a loop rather than awaited: an idle runtime would advance the paused clock.
            loop {
                if let Some(worker) = start.as_mut().now_or_never() {
                    return worker;
                }
                tokio::task::yield_now().await;
            }
        })
    }

    /// Runs all tasks until they are idle, without advancing the clock.
    pub fn run_until_idle(&mut self) {
        let workers: Vec<_> = self.workers.iter().flatten().collect();
        self.runtime.block_on(settle(&self.cluster, &workers));
    }

    /// Advances the clock. Timers fire in order, and all tasks run until they are idle after each timer.
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
                // Small steps, so that the effects of one timer are visible to the next.
                tokio::time::advance(left.min(Duration::from_millis(10))).await;
                settle(&self.cluster, &workers).await;
            }
        });
    }

    /// Advances the clock by the commit interval, so that all finished work is committed.
    pub fn commit(&mut self) {
        self.advance(self.app.settings().broker_commit_interval);
    }

    /// Returns the current time of the driver's clock.
    pub fn now(&self) -> Timestamp {
        self.runtime.block_on(async { self.cluster.time() })
    }

    /// Creates a topic: one that the app declares, before the app does, or an additional one.
    ///
    /// # Errors
    /// Kafka rejects the name or the number of partitions.
    pub fn create_topic(&mut self, name: &str, partitions: i32) -> Result<(), Error> {
        let topic = NewTopic { name: name.to_owned(), partitions, replication: 1, configs: BTreeMap::new() };
        let admin = self.cluster.admin()?;
        let created = admin.create(vec![topic]).now_or_never();
        created.unwrap_or(Ok(())).map_err(Error::from)
    }

    /// Sends a message to a topic, with the driver's current time.
    ///
    /// # Errors
    /// The topic does not exist, or the value cannot be encoded.
    pub fn send<K: Data, V: Data>(&mut self, topic: &str, key: &K, value: &V) -> Result<(), Error> {
        self.send_with(topic, key, value, |message| message)
    }

    /// Sends a message with an explicit partition, timestamp or headers.
    ///
    /// # Errors
    /// See [`send`](Self::send).
    pub fn send_with<K: Data, V: Data>(
        &mut self,
        topic: &str,
        key: &K,
        value: &V,
        options: impl FnOnce(SendOptions) -> SendOptions,
    ) -> Result<(), Error> {
        let topic = Topic::<K, V>::outside(topic, &self.outbox)?;
        // Inside the runtime, where timestamps come from the driver's clock.
        self.runtime.block_on(async { topic.send_with(key, value, options).await })
    }

    /// Returns the decoded contents of a topic, partition by partition.
    ///
    /// # Errors
    /// The topic does not exist, or a message cannot be decoded as these types.
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

    /// Returns the messages of a topic as stored, partition by partition.
    ///
    /// # Errors
    /// The topic does not exist.
    pub fn messages(&mut self, topic: &str) -> Result<Vec<TestMessage>, Error> {
        let partitions = self.partitions(topic)?;
        let mut reader = self.cluster.read(partitions.iter().map(|p| (p.clone(), StartAt::Earliest)).collect())?;
        let mut found = Vec::new();
        let mut open = partitions.len();
        while open > 0 {
            // The loop ends when every partition has reported its end, so a read never has to wait.
            match self.runtime.block_on(async { reader.next(Duration::ZERO).await })? {
                Some(Read::Message(partition, message)) => found.push(TestMessage::new(&partition, message)),
                Some(Read::End(_)) => open -= 1,
                None => break,
            }
        }
        found.sort_by_key(|message| (message.partition, message.offset));
        Ok(found)
    }

    /// Returns the app's committed offsets of a topic, by partition.
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

    /// Returns the partitions assigned to a worker.
    pub fn assignment(&self, worker: WorkerId) -> Vec<TopicPartition> {
        self.status(worker).map_or_else(Vec::new, |status| status.assignment)
    }

    /// Returns the status of a worker; `None` once it has been stopped or crashed.
    pub fn status(&self, worker: WorkerId) -> Option<Status> {
        self.workers.get(worker.0)?.as_ref().map(Worker::status)
    }

    /// Stops a worker gracefully: it finishes its events, commits, and leaves the group.
    ///
    /// # Errors
    /// The error with which the worker has ended, now or before.
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

    /// Requests a worker's shutdown and runs all tasks until they are idle, without advancing the clock. This allows a
    /// test to act in the middle of a shutdown. [`stop`](Self::stop) must follow.
    pub fn begin_stop(&mut self, worker: WorkerId) {
        if let Some(Some(worker)) = self.workers.get(worker.0) {
            // Inside the runtime, so that the shutdown timeout starts now on the driver's clock.
            let _inside = self.runtime.enter();
            worker.begin_stop();
        }
        self.run_until_idle();
    }

    /// Returns the outcome of a worker that has ended by itself; `None` while it is running.
    pub fn ended(&mut self, worker: WorkerId) -> Option<Result<(), Error>> {
        let worker = self.workers.get(worker.0)?.as_ref()?;
        self.runtime.block_on(async { worker.wait().now_or_never() })
    }

    /// Waits until a worker has ended, and returns its outcome.
    fn outcome(&mut self, worker: WorkerId) -> Result<(), Error> {
        if let Some(outcome) = self.ended(worker) {
            return outcome;
        }
        // An agent that does not return is waited for up to the shutdown timeout.
        let patience = self.app.settings().shutdown_timeout + Duration::from_secs(1);
        self.advance(patience);
        self.ended(worker).unwrap_or(Ok(()))
    }

    /// Crashes a worker: it finishes and commits nothing, and the group removes it after the session timeout.
    pub fn crash(&mut self, worker: WorkerId) {
        if let Some(running) = self.workers.get_mut(worker.0).and_then(Option::take) {
            let _inside = self.runtime.enter();
            running.crash();
            self.disks.free(worker.0);
        }
        self.run_until_idle();
    }

    /// Runs all tasks for a number of scheduler turns, without advancing the clock. This allows a test to crash a
    /// worker in the middle of an operation.
    pub fn run_turns(&mut self, turns: u32) {
        self.runtime.block_on(async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Deletes the disk of a worker that is not running, as if its machine had been replaced.
    ///
    /// # Errors
    /// The worker is running, or the directory cannot be removed.
    pub fn lose_disk(&mut self, worker: WorkerId) -> Result<(), Error> {
        self.disks.lose(worker.0, self.app.settings())
    }

    /// Returns a table of the app, which a test can read and write. Writes become part of the next commit.
    ///
    /// # Errors
    /// There is no such table, or its types differ.
    pub fn table<K: Data, V: TableValue>(&self, name: &str) -> Result<TestTable<K, V>, Error> {
        let views = self.workers.iter().flatten().map(|worker| worker.table(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(TestTable::new(views))
    }

    /// Returns a windowed table of the app, like [`table`](Self::table).
    ///
    /// # Errors
    /// See [`table`](Self::table).
    pub fn windowed_table<K: Data, V: TableValue>(&self, name: &str) -> Result<TestWindowedTable<K, V>, Error> {
        let running = self.workers.iter().flatten();
        let views = running.map(|worker| worker.windowed_table(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(TestWindowedTable::new(views))
    }

    /// Crashes a worker, waits until the group has removed it, and starts another in its place.
    ///
    /// # Errors
    /// See [`start_worker`](Self::start_worker).
    pub fn restart(&mut self, worker: WorkerId) -> Result<WorkerId, Error> {
        self.crash(worker);
        self.advance(self.app.settings().broker_session_timeout + Duration::from_millis(10));
        self.start_worker()
    }

    /// Returns the cluster, into which a test can inject faults.
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

/// Runs all tasks until there has been no activity for [`QUIET_TURNS`] turns.
async fn settle(cluster: &MemoryCluster, workers: &[&Worker]) {
    // A store writer that waits for a restore would wait by the system's clock, while the restore progresses by the
    // driver's clock.
    let _hurried: Vec<_> = workers.iter().map(|worker| worker.prioritize_stores()).collect();
    let mut seen = cluster.activity();
    let mut quiet = 0;
    let mut storing_since = None;
    while quiet < QUIET_TURNS {
        // The runtime is never idle while this task yields, so the paused clock does not advance.
        tokio::task::yield_now().await;
        let now = cluster.activity();
        if now == seen {
            quiet += 1;
        } else {
            (quiet, storing_since) = (0, None);
        }
        seen = now;
        // Stores run on their own threads, which follow the system's clock.
        if quiet + 1 < QUIET_TURNS || !workers.iter().any(|worker| worker.is_storing()) {
            continue;
        }
        let since = *storing_since.get_or_insert_with(std::time::Instant::now);
        assert!(
            since.elapsed() < STORING,
            "a store has been busy for {STORING:?} by the system's clock: the disk is stalled, or this is a bug in the test driver, please report it"
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
