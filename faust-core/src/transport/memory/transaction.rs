//! Transactions of the in-memory cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use faust_broker::core::{ErrorCode, MemberRef, OffsetToCommit, Outcome, ProducerIdentity};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::task::JoinError;

use super::cluster::{Commits, MemoryCluster, State, refused};
use super::faults::ClusterFault;
use super::producer::MemoryProducer;
use super::sink::MemorySink;
use crate::error::TransportError;
use crate::message::Offset;
use crate::transport::port::{Committed, Sink, TopicPartition, Transactions};
use crate::transport::transaction::{GroupMembership, TransactionError, TransactionErrorKind};

/// Time after which the cluster aborts an open transaction.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time after which a late commit takes effect.
const MAX_DELAY: Duration = Duration::from_secs(3);

/// The identity of a member in one generation.
pub(super) struct MemberIdentity {
    pub(super) group: String,
    pub(super) id: u64,
    pub(super) generation: u64,
}

/// A transactional producer.
#[derive(Clone)]
pub(super) struct MemoryTransactions {
    cluster: MemoryCluster,
    id: Arc<str>,
    identity: Arc<Mutex<ProducerIdentity>>,
    producer: Arc<MemoryProducer>,
    /// The offsets of the open transaction, for the observer.
    offsets: Arc<Mutex<BTreeMap<TopicPartition, Offset>>>,
    /// The group's offsets in the same partitions before.
    former_offsets: Arc<Mutex<FormerOffsets>>,
}

/// Committed offsets of groups.
type FormerOffsets = BTreeMap<(String, TopicPartition), Option<Committed>>;

impl MemoryTransactions {
    /// Initializes an id, which fences its former producer and ends its transaction.
    pub(super) fn open(cluster: &MemoryCluster, id: &str) -> Result<Self, TransactionError> {
        let timeout = i32::try_from(TIMEOUT.as_millis()).unwrap_or(i32::MAX);
        let now = cluster.time().0;
        let mut state = cluster.state();
        state.active();
        // The first call aborts an open transaction, the second one gets an identity.
        let identity = loop {
            match state.broker.init_transactions(id, timeout, None, now) {
                Ok(identity) => break identity,
                Err(ErrorCode::ConcurrentTransactions) => state.broker.tick_transactions(now),
                Err(code) => {
                    let error = refused(&format!("initialization of transactions of `{id}`"), code);
                    return Err(TransactionError::new(TransactionErrorKind::Refused, error));
                }
            }
        };
        wake(state);
        let identity = Arc::new(Mutex::new(identity));
        let producer = MemoryProducer::transactional(cluster.clone(), Arc::clone(&identity));
        let (offsets, former_offsets) = (Arc::default(), Arc::default());
        Ok(Self { cluster: cluster.clone(), id: id.into(), identity, producer, offsets, former_offsets })
    }

    fn identity(&self) -> ProducerIdentity {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offsets(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, Offset>> {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn former_offsets(&self) -> MutexGuard<'_, FormerOffsets> {
        self.former_offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, kind: TransactionErrorKind, what: &str, why: impl ToString) -> TransactionError {
        let what = format!("{what} of transactions of `{}`", self.id);
        TransactionError::new(kind, TransportError::retriable(what, why))
    }

    fn refused(&self, what: &str, code: ErrorCode) -> TransactionError {
        let kind = match code {
            ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId | ErrorCode::TransactionAbortable => {
                TransactionErrorKind::Abortable
            }
            _ => TransactionErrorKind::Lost,
        };
        self.error(kind, what, code)
    }

    /// Loses the producer, if the cluster's faults say so: another call fences it, as after a timeout.
    fn is_lost(&self, state: &mut State) -> bool {
        state.faults.occurs(ClusterFault::ProducerLost)
    }

    fn send_offsets_now(
        &self,
        member: &MemberIdentity,
        offsets: BTreeMap<TopicPartition, Committed>,
    ) -> Result<(), TransactionError> {
        let what = "offsets";
        let now = self.cluster.time();
        let mut state = self.cluster.state();
        state.active();
        if self.is_lost(&mut state) {
            return Err(self.error(TransactionErrorKind::Lost, what, "the producer is fenced"));
        }
        if state.faults.occurs(ClusterFault::AbortedTransaction) {
            return Err(self.error(TransactionErrorKind::Abortable, what, "the coordinator has moved"));
        }
        // As a broker does: it compares the member and its generation, and not the partitions with the assignment.
        let is_member = state
            .members
            .get(&member.id)
            .is_some_and(|held| !held.crashed && !held.expelled && held.group() == member.group);
        let is_current = is_member && state.generations.get(&member.group) == Some(&member.generation);
        if !is_current {
            return Err(self.refused(what, ErrorCode::IllegalGeneration));
        }
        let identity = self.identity();
        let added = state.broker.add_offsets(&self.id, identity, &member.group, now.0);
        added.map_err(|code| self.refused(what, code))?;
        *self.offsets() = offsets.iter().map(|(partition, committed)| (partition.clone(), committed.offset)).collect();
        *self.former_offsets() = offsets
            .keys()
            .map(|partition| ((member.group.clone(), partition.clone()), state.committed(&member.group, partition)))
            .collect();
        let outsider = MemberRef { generation: -1, ..MemberRef::default() };
        let offsets = offsets.into_iter().map(|(partition, committed)| {
            let mut offset = OffsetToCommit::new(partition.topic.to_string(), partition.partition, committed.offset.0);
            offset.metadata = committed.metadata;
            offset
        });
        let (group, offsets) = (&member.group, offsets.collect());
        let sent = state.broker.commit_offsets_in_transaction(&self.id, identity, group, &outsider, offsets, now.0);
        let each = sent.map_err(|code| self.refused(what, code))?;
        let failed = each.into_iter().find_map(Result::err);
        failed.map_or(Ok(()), |code| Err(self.error(TransactionErrorKind::Abortable, what, code)))
    }

    fn end_commit(&self) -> Result<(), TransactionError> {
        self.end("commit", Outcome::Commit)
    }

    fn end(&self, what: &str, outcome: Outcome) -> Result<(), TransactionError> {
        let now = self.cluster.time();
        let mut state = self.cluster.state();
        state.active();
        let is_lost = outcome == Outcome::Commit && self.is_lost(&mut state);
        // Half of the producers that are lost have committed.
        if is_lost && state.faults.below(2) == 0 {
            return Err(self.error(TransactionErrorKind::Lost, what, "the producer is fenced"));
        }
        let ended = state.broker.end_transaction(&self.id, self.identity(), outcome, false, now.0);
        let messages = self.producer.end_transaction();
        if outcome == Outcome::Commit && ended.is_ok() {
            state.published += messages;
            let former = std::mem::take(&mut *self.former_offsets()).into_iter();
            state.former_offsets.extend(former.map(|(of, committed)| (of, (committed, now))));
        }
        wake(state);
        match ended {
            Ok(identity) => *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity,
            // Nothing was sent: librdkafka does not ask the broker.
            Err(ErrorCode::InvalidTxnState) => {}
            Err(code) => return Err(self.refused(what, code)),
        }
        let offsets = std::mem::take(&mut *self.offsets());
        if outcome == Outcome::Commit && !offsets.is_empty() {
            self.cluster.report(|observer, now| observer.committed(&self.cluster.client, offsets, now));
        }
        if is_lost {
            return Err(self.error(TransactionErrorKind::Lost, what, "no answer, and the producer is fenced"));
        }
        Ok(())
    }
}

/// Wakes the readers: more messages can be read once a transaction has ended.
fn wake(mut state: MutexGuard<'_, State>) {
    let wakers = std::mem::take(&mut state.wakers);
    drop(state);
    wakers.into_iter().for_each(std::task::Waker::wake);
}

impl crate::transport::port::Sealed for MemoryTransactions {}

impl Transactions for MemoryTransactions {
    fn sink(&self) -> Arc<dyn Sink> {
        Arc::new(MemorySink::of(Arc::clone(&self.producer)))
    }

    fn begin(&self) -> BoxFuture<'_, Result<(), TransactionError>> {
        tokio::spawn(time_out(self.cluster.clone()));
        ready(Ok(())).boxed()
    }

    fn send_offsets(
        &self,
        member: GroupMembership,
        offsets: BTreeMap<TopicPartition, Committed>,
    ) -> BoxFuture<'_, Result<(), TransactionError>> {
        async move {
            let Some(member) = member.downcast::<MemberIdentity>() else {
                return Err(self.error(
                    TransactionErrorKind::Abortable,
                    "offsets",
                    "the member is that of another cluster",
                ));
            };
            // A request that is held does not arrive.
            if self.cluster.state().commits == Commits::Held {
                self.cluster.commits_released().await;
            }
            self.send_offsets_now(&member, offsets)
        }
        .boxed()
    }

    fn commit(&self) -> BoxFuture<'_, Result<(), TransactionError>> {
        let (commits, delay) = {
            let mut state = self.cluster.state();
            let is_late = state.faults.occurs(ClusterFault::LateCommit);
            let delay = state.commit_delay.or_else(|| is_late.then(|| state.faults.short_time(MAX_DELAY)));
            (state.commits, delay)
        };
        let late = self.clone();
        // A request takes effect even if the future is dropped.
        let sent = match delay {
            None => ready(self.end_commit()).boxed(),
            Some(delay) => {
                let sent = tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    late.end_commit()
                });
                let lost = |why: JoinError| Err(self.error(TransactionErrorKind::Lost, "commit", why));
                async move { sent.await.unwrap_or_else(lost) }.boxed()
            }
        };
        async move {
            if commits == Commits::Unanswered {
                self.cluster.commits_released().await;
            }
            sent.await
        }
        .boxed()
    }

    fn abort(&self) -> BoxFuture<'_, Result<(), TransactionError>> {
        self.producer.purge();
        ready(self.end("abort", Outcome::Abort)).boxed()
    }

    fn is_spent(&self) -> bool {
        self.producer.is_spent()
    }
}

/// Aborts the transactions that are open for too long.
async fn time_out(cluster: MemoryCluster) {
    tokio::time::sleep(TIMEOUT + Duration::from_millis(1)).await;
    let now = cluster.time();
    let mut state = cluster.state();
    state.broker.tick_transactions(now.0);
    wake(state);
}
