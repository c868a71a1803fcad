//! A Kafka of one node in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use faust_broker::core::{BrokerCore, CoreConfig, ErrorCode, MemberRef, OffsetSpec, OffsetToCommit};
use tokio::sync::Notify;

use super::faults::{ClusterFault, FaultProfile, Faults};
use super::member::Member;
use super::observer::ClusterObserver;
use crate::error::{TransportError, TransportErrorKind};
use crate::message::Offset;
use crate::time::Timestamp;
use crate::transport::delivery::Delivery;
use crate::transport::port::{Committed, PENDING_AFTER, RefusedOffsets, TopicPartition};

/// An in-memory Kafka cluster of one broker. Clones share the same cluster.
#[derive(Clone)]
pub struct MemoryCluster {
    pub(super) inner: Arc<Inner>,
    /// Name of the client that uses this handle, for the observer.
    pub(super) client: Arc<str>,
    /// Instance id of the members that join with this handle, if they are static.
    pub(super) instance: Option<Arc<str>>,
}

pub(super) struct Inner {
    state: Mutex<State>,
    /// Serializes rebalances: one completes before the next starts.
    pub(super) rebalancing: tokio::sync::Mutex<()>,
    /// Wakes the commits that are held, in their order: the receivers of a watch channel would be woken in random order.
    released: Notify,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    pub(super) timeouts: GroupTimeouts,
    observer: OnceLock<Arc<dyn ClusterObserver>>,
}

/// The timeouts of the members of a cluster's groups.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct GroupTimeouts {
    /// Time after which a crashed member is removed.
    pub session: Duration,
    /// Maximum time for which an impatient rebalance waits for a member ([`ClusterFault::ImpatientRebalance`]).
    pub rebalance: Duration,
}

impl GroupTimeouts {
    /// Creates the timeouts.
    pub fn new(session: Duration, rebalance: Duration) -> Self {
        Self { session, rebalance }
    }
}

/// Pause between two looks at the offsets of open transactions.
const PENDING_LOOK: Duration = Duration::from_millis(10);
/// Maximum time in milliseconds after a transaction in which its offsets may not be found.
const STALE_FOR: i64 = 3_000;

/// The handling of commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commits {
    Answered,
    /// Requests do not arrive at the cluster.
    Held,
    /// Requests take effect, but their responses do not arrive.
    Unanswered,
}

/// The acknowledgement of a message, which is held.
pub(super) struct HeldAnswer {
    pub(super) delivery: Arc<Delivery>,
    pub(super) partition: TopicPartition,
    pub(super) offset: Offset,
    /// The id of the producer, if it makes transactions.
    pub(super) producer: Option<i64>,
}

pub(super) struct State {
    pub(super) broker: BrokerCore,
    pub(super) members: BTreeMap<u64, Member>,
    pub(super) next_member: u64,
    /// The generation of each group: the number of its rebalances.
    pub(super) generations: BTreeMap<String, u64>,
    pub(super) faults: Faults,
    pub(super) commits: Commits,
    /// Time after which each commit takes effect.
    pub(super) commit_delay: Option<Duration>,
    /// Wakers of the tasks that wait for messages.
    pub(super) wakers: Vec<Waker>,
    /// Number of operations so far, from which a driver detects that the cluster is idle.
    pub(super) activity: u64,
    /// Number of messages of committed transactions.
    pub(super) published: u64,
    /// The committed offset of a group's partition before its last transaction, and the time of that.
    pub(super) former_offsets: BTreeMap<(String, TopicPartition), (Option<Committed>, Timestamp)>,
    /// The messages that are in the log and not acknowledged, while deliveries are held.
    pub(super) held: Option<Vec<HeldAnswer>>,
    /// The last partition chosen for a message without a key; partitions are chosen in turn.
    pub(super) turn: i32,
}

impl MemoryCluster {
    /// Creates an empty cluster with the time of `clock`, without faults.
    pub fn new(seed: u64, timeouts: GroupTimeouts, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let state = State {
            broker: BrokerCore::new(CoreConfig::seeded(seed)),
            members: BTreeMap::new(),
            next_member: 0,
            generations: BTreeMap::new(),
            faults: Faults::seeded(seed),
            commits: Commits::Answered,
            commit_delay: None,
            wakers: Vec::new(),
            activity: 0,
            published: 0,
            former_offsets: BTreeMap::new(),
            held: None,
            turn: 0,
        };
        let inner = Inner {
            state: Mutex::new(state),
            rebalancing: tokio::sync::Mutex::new(()),
            released: Notify::new(),
            clock: Box::new(clock),
            timeouts,
            observer: OnceLock::new(),
        };
        Self { inner: Arc::new(inner), client: Arc::from(""), instance: None }
    }

    /// Returns a handle of the cluster for another client.
    pub(crate) fn for_client(&self, name: &str) -> Self {
        Self { inner: Arc::clone(&self.inner), client: Arc::from(name), instance: None }
    }

    /// Returns a handle with which members join as static ones, under this instance id.
    pub(crate) fn with_instance(self, id: Option<String>) -> Self {
        Self { instance: id.map(Arc::from), ..self }
    }

    /// Sets the observer of the cluster, unless it has one.
    pub(crate) fn observe(&self, observer: Arc<dyn ClusterObserver>) {
        // An error means that another one is set.
        drop(self.inner.observer.set(observer));
    }

    /// Calls the observer with the cluster's time, if there is one.
    pub(super) fn report(&self, report: impl FnOnce(&dyn ClusterObserver, Timestamp)) {
        if let Some(observer) = self.inner.observer.get() {
            report(&**observer, self.time());
        }
    }

    /// Returns a number that increases with every operation.
    pub fn activity(&self) -> u64 {
        self.state().activity
    }

    /// Returns the number of messages that were sent in transactions, and committed.
    pub fn published(&self) -> u64 {
        self.state().published
    }

    /// Sets the faults that the cluster shows from now on.
    pub fn set_faults(&self, profile: FaultProfile) {
        self.state().faults.set(profile);
    }

    /// Returns how often each fault has occurred, and had an effect, since the cluster was created.
    pub fn fault_counts(&self) -> BTreeMap<ClusterFault, u64> {
        self.state().faults.counts().clone()
    }

    /// Holds the acknowledgements of messages until [`release_deliveries`](Self::release_deliveries) is called. The
    /// messages are written nevertheless.
    pub fn hold_deliveries(&self) {
        self.state().held.get_or_insert_default();
    }

    /// Acknowledges the messages that were held.
    pub fn release_deliveries(&self) {
        let held = self.state().held.take().unwrap_or_default();
        held.into_iter().for_each(|answer| answer.delivery.done(Ok(Some(answer.offset))));
    }

    /// Holds commits until [`release_commits`](Self::release_commits) is called. Only then do they take effect and
    /// complete, unless the worker has crashed or lost the partitions by then.
    pub fn hold_commits(&self) {
        self.state().commits = Commits::Held;
    }

    /// Delays the effect of the commits that are sent from now on, as if the broker were frozen. Without a delay, commits take
    /// effect at once again.
    pub fn delay_commits(&self, delay: Option<Duration>) {
        self.state().commit_delay = delay;
    }

    /// Holds the responses to commits until [`release_commits`](Self::release_commits) is called. The commits take
    /// effect at once. Commits held by [`hold_commits`](Self::hold_commits) stay held.
    pub fn hold_commit_answers(&self) {
        self.state().commits = Commits::Unanswered;
    }

    /// Releases held commits and responses. Later commits complete at once again.
    pub fn release_commits(&self) {
        let mut state = self.state();
        state.active();
        state.commits = Commits::Answered;
        drop(state);
        self.inner.released.notify_waiters();
    }

    /// Waits until no commits are held.
    pub(super) async fn commits_released(&self) {
        loop {
            let released = self.inner.released.notified();
            tokio::pin!(released);
            // IMPORTANT: enable the notification before checking, or a release between the two would be missed.
            released.as_mut().enable();
            if self.state().commits == Commits::Answered {
                return;
            }
            released.await;
        }
    }

    /// Waits until no open transaction has offsets of these partitions. `pending` is called each time that this has taken
    /// [`PENDING_AFTER`].
    pub(super) async fn offsets_settled(&self, group: &str, partitions: &[TopicPartition], mut pending: impl FnMut()) {
        let is_pending = |of: &TopicPartition| self.state().broker.has_pending_offset(group, &of.topic, of.partition);
        let mut waited = Duration::ZERO;
        while partitions.iter().any(is_pending) {
            tokio::time::sleep(PENDING_LOOK).await;
            waited += PENDING_LOOK;
            if waited >= PENDING_AFTER {
                waited = Duration::ZERO;
                pending();
            }
        }
    }

    /// Returns the cluster's time.
    pub fn time(&self) -> Timestamp {
        (self.inner.clock)()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn active(&mut self) {
        self.activity += 1;
    }

    /// Returns the partition counts of the existing topics.
    pub(super) fn topics(&self) -> BTreeMap<String, i32> {
        self.broker.topics().map(|(name, topic)| (name.to_owned(), topic.partitions())).collect()
    }

    pub(super) fn end(&self, partition: &TopicPartition, spec: OffsetSpec) -> Result<Offset, TransportError> {
        let found = self.broker.find_offset(&partition.topic, partition.partition, spec);
        found.map(|found| Offset(found.offset)).map_err(|code| refused(&format!("offsets of {partition}"), code))
    }

    pub(super) fn committed(&self, group: &str, partition: &TopicPartition) -> Option<Committed> {
        let committed = self.broker.committed_offset(group, &partition.topic, partition.partition)?;
        Some(Committed { offset: Offset(committed.offset), metadata: committed.metadata.clone() })
    }

    /// Returns the committed offset without waiting for transactions: possibly the one before the last transaction.
    pub(super) fn committed_now(
        &mut self,
        group: &str,
        partition: &TopicPartition,
        now: Timestamp,
    ) -> Option<Committed> {
        let key = (group.to_owned(), partition.clone());
        match self.former_offsets.remove(&key).filter(|(_, at)| now.0 - at.0 < STALE_FOR) {
            Some(former) if self.faults.occurs(ClusterFault::StaleOffsets) => {
                self.former_offsets.insert(key, former.clone());
                former.0
            }
            _ => self.committed(group, partition),
        }
    }

    pub(super) fn commit(
        &mut self,
        group: &str,
        mut offsets: BTreeMap<TopicPartition, Committed>,
        now: Timestamp,
    ) -> Result<RefusedOffsets, TransportError> {
        let what = format!("commit of group `{group}`");
        let (requested, mut all_refused) = (offsets.len(), RefusedOffsets::new());
        let mut answer = Ok(());
        if offsets.len() > 1 && self.faults.occurs(ClusterFault::PartialCommit) {
            let refused = offsets.keys().nth(self.faults.below(offsets.len())).cloned();
            if let Some(refused) = refused {
                offsets.remove(&refused);
                let error = TransportError::retriable(&*what, "the coordinator is loading");
                all_refused.insert(refused, error);
            }
        }
        if self.faults.occurs(ClusterFault::LostCommitAnswer) {
            answer = Err(TransportError::retriable(&*what, "no answer"));
        }
        let partitions: Vec<_> = offsets.keys().cloned().collect();
        let offsets = offsets.into_iter().map(|(partition, committed)| {
            let mut offset = OffsetToCommit::new(partition.topic.to_string(), partition.partition, committed.offset.0);
            offset.metadata = committed.metadata;
            offset
        });
        // Membership is managed by this transport: for the core, the commit comes from a client outside the group.
        let results = self.broker.commit_offsets(
            group,
            &MemberRef { generation: -1, ..MemberRef::default() },
            offsets.collect(),
            now.0,
        );
        let results = results.map_err(|code| refused(&what, code))?;
        for (partition, result) in partitions.into_iter().zip(results) {
            if let Err(code) = result {
                all_refused.insert(partition, refused(&what, code));
            }
        }
        answer?;
        match all_refused.values().next() {
            Some(error) if all_refused.len() == requested => Err(error.clone()),
            _ => Ok(all_refused),
        }
    }
}

pub(super) fn refused(what: &str, code: ErrorCode) -> TransportError {
    let kind = match code {
        ErrorCode::OffsetOutOfRange => TransportErrorKind::OffsetOutOfRange,
        // The topic may be created again, as in the Kafka adapter.
        ErrorCode::UnknownTopicOrPartition => TransportErrorKind::Retriable,
        _ => TransportErrorKind::Fatal,
    };
    TransportError { what: what.to_owned(), why: format!("{code:?}"), kind }
}

impl std::fmt::Debug for MemoryCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryCluster").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
