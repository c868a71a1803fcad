//! State shared by all connections: the locked broker and the waiting requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, oneshot};
use tokio::time;

use crate::core::broker_values::BrokerValues;
use crate::core::{BrokerCore, Completed, Token};
use crate::listener::endpoint::Endpoint;
use crate::listener::log_dir::LogDir;

/// Number of bytes whose checksums are verified before requests can take the lock.
const VERIFY_STEP: usize = 1024 * 1024;
/// Length of the pause after such a step, as a multiple of its time.
const VERIFY_PAUSES: u32 = 3;

/// The shared state of a server.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) endpoint: Endpoint,
    pub(crate) log_dir: LogDir,
    /// Notified when a client has changed configs of the broker, for the task of compaction.
    pub(crate) configs_changed: Notify,
    /// A plain mutex: it is held for one operation and never across an `.await`.
    state: Mutex<State>,
    started: Instant,
    started_ms: i64,
}

/// The configs of the broker that are fixed at start and used without the lock.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) auto_create_topics: bool,
    pub(crate) default_partitions: i32,
    pub(crate) max_request_bytes: usize,
    /// Interval at which retention is applied.
    pub(crate) retention_check: Duration,
    /// Interval at which committed offsets are checked for their expiry.
    pub(crate) offsets_check: Duration,
    /// Interval at which it is recorded how far the logs are synced.
    pub(crate) checkpoint: Duration,
}

impl Settings {
    fn new(values: &BrokerValues) -> Self {
        Self {
            auto_create_topics: values.flag("auto.create.topics.enable"),
            default_partitions: i32::try_from(values.number("num.partitions")).unwrap_or(i32::MAX),
            max_request_bytes: usize::try_from(values.number("socket.request.max.bytes")).unwrap_or(usize::MAX),
            retention_check: values.millis("log.retention.check.interval.ms"),
            offsets_check: values.millis("offsets.retention.check.interval.ms"),
            checkpoint: values.millis("log.flush.offset.checkpoint.interval.ms"),
        }
    }
}

/// The state protected by the lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) broker: BrokerCore,
    /// Join and sync requests that wait for the other members of their group.
    members: HashMap<Token, oneshot::Sender<Completed>>,
    /// Fetch requests that wait for records, by topic id and partition.
    readers: HashMap<(u128, i32), Vec<Weak<Notify>>>,
}

impl Shared {
    pub(crate) fn new(broker: BrokerCore, endpoint: Endpoint, log_dir: LogDir) -> Self {
        let settings = Settings::new(broker.values());
        let state = Mutex::new(State { broker, members: HashMap::new(), readers: HashMap::new() });
        let configs_changed = Notify::new();
        let (started, started_ms) = (Instant::now(), wall_ms());
        Self { settings, endpoint, log_dir, configs_changed, state, started, started_ms }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in one request must not make the broker unusable for all others. No operation of the core leaves the
        // state inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a monotonic time in milliseconds, for timeouts.
    pub(crate) fn steady_ms(&self) -> i64 {
        self.started_ms + i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    pub(crate) fn tick(&self) {
        let now_ms = self.steady_ms();
        let mut state = self.lock();
        state.broker.set_wall_clock(now_ms, wall_ms());
        state.broker.tick(now_ms);
        state.hand_out();
    }

    pub(crate) fn expire_offsets(&self) {
        self.lock().broker.expire_offsets(wall_ms());
    }

    pub(crate) fn checkpoint(&self) {
        self.lock().broker.checkpoint();
    }

    /// Verifies the checksums that the start has not verified, with pauses in which requests can take the lock.
    pub(crate) async fn verify(&self) {
        let mut bytes = 0;
        let mut is_unverified = self.lock().broker.is_unverified();
        if !is_unverified {
            return;
        }
        while is_unverified {
            let began = Instant::now();
            {
                let mut state = self.lock();
                bytes += state.broker.verify_step(VERIFY_STEP);
                is_unverified = state.broker.is_unverified();
            }
            // Most of the time is left to requests.
            time::sleep(began.elapsed() * VERIFY_PAUSES).await;
        }
        tracing::info!(bytes, "verified the checksums of the records of earlier runs");
    }

    /// Returns the interval at which compacted topics are checked for compaction, which clients can change.
    pub(crate) fn compaction_interval(&self) -> Duration {
        self.lock().broker.values().millis("log.cleaner.backoff.ms")
    }

    pub(crate) fn clean(&self) {
        let mut state = self.lock();
        state.broker.clean_quickly(wall_ms());
        state.readers.retain(|_, waiting| {
            waiting.retain(|reader| reader.strong_count() > 0);
            !waiting.is_empty()
        });
    }

    /// Compacts the logs that need it, with a pause after each step in which requests can take the lock.
    pub(crate) async fn compact(&self, pause: Duration) {
        let dirty = self.lock().broker.dirty_logs(wall_ms());
        for (topic, partition) in dirty {
            while self.compact_step(&topic, partition) {
                time::sleep(pause).await;
            }
        }
    }

    fn compact_step(&self, topic: &str, partition: i32) -> bool {
        self.lock().broker.compact_step(topic, partition, wall_ms())
    }

    /// Runs an operation on groups, then sends the responses that it has completed.
    pub(crate) fn with_groups<T>(&self, operation: impl FnOnce(&mut BrokerCore, i64) -> T) -> T {
        let now_ms = self.steady_ms();
        let mut state = self.lock();
        let result = operation(&mut state.broker, now_ms);
        state.hand_out();
        result
    }

    /// Like [`with_groups`](Self::with_groups), for an operation whose response may be delayed.
    pub(crate) fn wait_for_group<E>(
        &self,
        operation: impl FnOnce(&mut BrokerCore, i64) -> Result<Token, E>,
    ) -> Result<oneshot::Receiver<Completed>, E> {
        let now_ms = self.steady_ms();
        let mut state = self.lock();
        let token = operation(&mut state.broker, now_ms);
        let answer = token.map(|token| {
            let (sender, receiver) = oneshot::channel();
            state.members.insert(token, sender);
            receiver
        });
        state.hand_out();
        answer
    }
}

impl State {
    fn hand_out(&mut self) {
        for (token, completed) in self.broker.take_completed() {
            if let Some(waiting) = self.members.remove(&token) {
                // Fails if the connection has been closed.
                drop(waiting.send(completed));
            }
        }
        for (topic_id, partition) in self.broker.take_advanced() {
            self.appended(topic_id, partition);
        }
    }

    pub(crate) fn wake_on_append(&mut self, topic_id: u128, partition: i32, reader: &Arc<Notify>) {
        let waiting = self.readers.entry((topic_id, partition)).or_default();
        waiting.retain(|other| other.strong_count() > 0);
        waiting.push(Arc::downgrade(reader));
    }

    pub(crate) fn appended(&mut self, topic_id: u128, partition: i32) {
        for reader in self.readers.remove(&(topic_id, partition)).unwrap_or_default() {
            if let Some(reader) = reader.upgrade() {
                reader.notify_one();
            }
        }
    }
}

/// Returns the wall-clock time in milliseconds since the Unix epoch, for record timestamps.
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
