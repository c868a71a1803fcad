//! Handling of rebalances in librdkafka's callbacks, on the consumer's own thread.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{ClientContext, TopicPartitionList};
use tokio::runtime::Handle;
use tracing::{debug, error, warn};

use super::config::KafkaConfig;
use super::connection::{self, ConnectionWatch};
use super::errors::failed;
use super::native::{GroupConsumer, PartitionReader, ReadState, answers, generation, topic_ids};
use super::offsets;
use super::queue::{KafkaQueue, split, wake_fetchers};
use crate::config::OffsetReset;
use crate::error::TransportError;
use crate::message::Offset;
use crate::transport::outage::Outage;
use crate::transport::port::{Assigned, Committed, GroupListener, PENDING_AFTER, TopicPartition, topic_id_text};
use crate::transport::retry::Retries;
use crate::transport::start;
use crate::transport::transaction::GroupMembership;

/// Timeout of one lookup, after which it is retried. The first one is shorter: offsets that are part of an open transaction cannot
/// be looked up.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(5);
/// Timeout of the lookup of topic ids, which is not retried.
const LOOK_UP_IDS_WITHIN: Duration = Duration::from_secs(2);

/// The position of a partition at its assignment.
struct PartitionStart {
    partition: TopicPartition,
    committed: Option<Committed>,
    start: Offset,
    /// Log start offset and high watermark.
    bounds: (Offset, Offset),
}

/// The callbacks of a group member's consumer.
pub(super) struct GroupContext {
    pub(super) listener: Arc<dyn GroupListener>,
    pub(super) config: Arc<KafkaConfig>,
    /// Name of the group.
    pub(super) group: String,
    /// The subscribed topics and their policies.
    pub(super) topics: BTreeMap<Arc<str>, OffsetReset>,
    pub(super) runtime: Handle,
    /// The random number of this member; see [`Assigned::nonce`].
    pub(super) nonce: u16,
    pub(super) connection: ConnectionWatch,
    pub(super) outage: Arc<Outage>,
    /// The reason for which the brokers may be unavailable. It may be outdated by the time it is polled, so it is
    /// reported only once a lookup has failed as well.
    pub(super) suspicion: Mutex<Option<String>>,
    /// Weak, because the consumer owns this context.
    pub(super) member: OnceLock<Weak<GroupConsumer<GroupContext>>>,
    /// librdkafka's side of the queues, kept until the partitions have been unassigned.
    pub(super) readers: Mutex<BTreeMap<TopicPartition, Arc<PartitionReader>>>,
    /// The member's identity in the generation of its last assignment. IMPORTANT: not that of the present generation, in which a member
    /// that has rejoined may own other partitions: the broker does not compare a commit with the assignment.
    pub(super) membership: Mutex<Option<GroupMembership>>,
    /// Set after an assignment has failed: the group must be joined again.
    pub(super) rejoin: AtomicBool,
    /// Set once the worker abandons the group: pending lookups and revocations are no longer waited for.
    pub(super) abandoned: AtomicBool,
}

impl GroupContext {
    pub(super) fn readers(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, Arc<PartitionReader>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn membership(&self) -> MutexGuard<'_, Option<GroupMembership>> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn suspicion(&self) -> MutexGuard<'_, Option<String>> {
        self.suspicion.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports to the engine that no broker responds, unless already reported.
    pub(super) fn went_down(&self, reason: &str) {
        if self.connection.went_down() {
            // librdkafka's reason is only how many brokers are down.
            let detail = if self.outage.cause().is_some() { self.outage.to_string() } else { reason.to_owned() };
            self.listener.connection(false, &detail);
        }
    }

    /// Reports to the engine that the brokers respond, unless already reported.
    pub(super) fn came_up(&self) {
        if self.connection.came_up() {
            self.outage.answered();
            self.listener.connection(true, &self.config.bootstrap);
        }
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: Vec<TopicPartition>) -> Result<(), TransportError> {
        let Some(member) = self.member.get().and_then(Weak::upgrade) else {
            return Err(TransportError::retriable("assignment", "the consumer is closing"));
        };
        let former = self.give_up_former(consumer);
        let found = match self.starts(consumer, &partitions) {
            Ok(found) => found,
            Err(error) => {
                // They stay until librdkafka takes the partitions; see `give_back`.
                self.readers().extend(former);
                return Err(error);
            }
        };
        // After the bounds: if the topic is created again in between, the positions are compared with the newer log.
        let ids = ids(consumer, &partitions);
        let starts: Vec<_> =
            found.iter().map(|found| (found.partition.clone(), rdkafka::Offset::Offset(found.start.0))).collect();
        let readers = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => {
                split(&member, &starts, ReadState::Singly, |list| consumer.incremental_assign(list))
            }
            _ => split(&member, &starts, ReadState::Batches, |list| {
                let assigned = consumer.assign(list);
                // Not before; see `give_back`. Not later: see `PartitionReader`.
                former.values().for_each(|reader| reader.close());
                assigned
            }),
        }?;
        let generation = generation(consumer);
        // Without a generation, the broker would accept the offsets of anyone.
        let membership = consumer.group_metadata().filter(|_| generation > 0).map(GroupMembership::new);
        *self.membership() = membership;
        let nonce = self.nonce;
        let assigned = found.into_iter().zip(readers).map(|(found, reader)| {
            let PartitionStart { partition, committed, start, bounds } = found;
            let reader = Arc::new(reader);
            self.readers().insert(partition.clone(), Arc::clone(&reader));
            let queue = KafkaQueue::new(partition.clone(), reader, Arc::clone(&member), start);
            let queue = queue.reporting(Arc::clone(&self.listener));
            let topic_id = ids.get(&*partition.topic).cloned().unwrap_or_default();
            Assigned { partition, committed, generation, nonce, bounds, topic_id, start, queue: Box::new(queue) }
        });
        self.listener.assigned(assigned.collect());
        Ok(())
    }

    /// Revokes the partitions of an earlier assignment that librdkafka has not revoked: the topics have changed, and the group
    /// was joined again, while the offsets of that assignment were looked up. The next assignment replaces it as a whole.
    /// Returns librdkafka's side of the queues.
    fn give_up_former(&self, consumer: &BaseConsumer<Self>) -> BTreeMap<TopicPartition, Arc<PartitionReader>> {
        // An incremental assignment adds partitions to those before.
        if matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative) {
            return BTreeMap::new();
        }
        let former = std::mem::take(&mut *self.readers());
        if !former.is_empty() {
            let partitions: Vec<_> = former.keys().cloned().collect();
            debug!(target: "faust::kafka", "replaced without a revocation: {}", named(&partitions));
            self.await_revoked(partitions, true);
        }
        former
    }

    /// Looks up the committed and the start offsets. Retries until the brokers respond, but not for so long that the
    /// group would remove this member.
    fn starts(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &[TopicPartition],
    ) -> Result<Vec<PartitionStart>, TransportError> {
        let deadline = Instant::now() + self.config.max_poll_interval / 2;
        let mut retries = Retries::new(|text| warn!(target: "faust::kafka", "{text}"));
        let (mut within, mut told) = (PENDING_AFTER, Instant::now());
        loop {
            let looked_up = offsets::committed(consumer, partitions, within)
                .and_then(|committed| Ok((committed, offsets::watermarks(consumer, partitions, LOOK_UP_WITHIN)?)));
            match looked_up {
                Ok((mut committed, watermarks)) => {
                    let start = |partition: &TopicPartition| {
                        let committed = committed.remove(partition);
                        let bounds = watermarks.get(partition).copied().unwrap_or_default();
                        // Only subscribed topics are assigned.
                        let reset = self.topics.get(&partition.topic).copied().unwrap_or(OffsetReset::None);
                        let start = start::start(partition, committed.as_ref(), bounds, reset)?;
                        Ok(PartitionStart { partition: partition.clone(), committed, start, bounds })
                    };
                    return partitions.iter().map(start).collect();
                }
                Err(error)
                    if error.is_retriable() && Instant::now() < deadline && !self.abandoned.load(Ordering::Relaxed) =>
                {
                    retries.report(&format!("{error}; retrying"));
                    // Not after each failure: some are returned at once. The engine finds out whether a transaction is the cause.
                    if told.elapsed() >= PENDING_AFTER {
                        told = Instant::now();
                        self.listener.offsets_pending(partitions);
                    }
                    within = LOOK_UP_WITHIN;
                    // Some lookups fail at once, without waiting for a response.
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the engine has released the partitions, at most for the rebalance budget.
    fn await_revoked(&self, partitions: Vec<TopicPartition>, lost: bool) {
        if partitions.is_empty() || self.abandoned.load(Ordering::Relaxed) {
            return;
        }
        let (budget, count, began) = (self.config.rebalance_budget, partitions.len(), Instant::now());
        let revoked = self.listener.revoked(partitions, lost);
        match self.runtime.block_on(async { tokio::time::timeout(budget, revoked).await }) {
            Ok(()) => debug!(target: "faust::kafka", "released {count} partitions in {:?}", began.elapsed()),
            Err(_) => warn!(
                target: "faust::kafka",
                "{count} partitions were not released within {budget:?} (`broker_rebalance_timeout`): their next owner reprocesses uncommitted messages"
            ),
        }
    }

    fn give_back(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let given_back = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
            _ => consumer.unassign(),
        };
        if let Err(error) = given_back {
            error!(target: "faust::kafka", "{}", failed("unassigning partitions", &error));
        }
        // IMPORTANT: only after the unassignment, but before the next assignment: see `PartitionReader`. The engine may keep the
        // queues for longer.
        let mut readers = self.readers();
        for partition in partitions_of(list) {
            if let Some(reader) = readers.remove(&partition) {
                reader.close();
            }
        }
        let others_stay = !readers.is_empty();
        drop(readers);
        if others_stay && self.connection.is_up() {
            wake_fetchers(consumer);
        }
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        connection::log(level, facility, line);
    }

    fn stats_raw(&self, json: &[u8]) {
        connection::log_statistics(json);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            _ if connection::means_down(&error) => *self.suspicion() = Some(reason.to_owned()),
            // A wrong password at start-up has to be corrected by the user. Later, a failed authentication may be
            // temporary while the password is being changed.
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed)
                if self.connection.is_unknown() =>
            {
                self.listener
                    .failed(TransportError::fatal(format!("authentication at {}", self.config.bootstrap), reason));
            }
            _ => {
                self.outage.failed(reason);
                debug!(target: "faust::kafka", "{error}: {reason}");
            }
        }
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = partitions_of(list);
        let assign = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        debug!(target: "faust::kafka", "{} {}", if assign { "assigned" } else { "revoked" }, named(&partitions));
        // A panic must not unwind through librdkafka's poll, and a revocation must always unassign the partitions:
        // otherwise the consumer could never be dropped.
        let done = catch_unwind(AssertUnwindSafe(|| {
            if assign {
                self.came_up();
                return self.assign(consumer, partitions);
            }
            let lost = consumer.assignment_lost();
            if lost {
                *self.membership() = None;
            }
            self.await_revoked(partitions, lost);
            Ok(())
        }));
        let error = match done {
            Ok(Ok(())) if assign => return,
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(TransportError::fatal("rebalance", "the worker panicked: see the panic message above")),
        };
        self.give_back(consumer, list);
        match error {
            Some(error) if error.is_retriable() => {
                warn!(target: "faust::kafka", "{error}; joining the group again");
                self.rejoin.store(true, Ordering::Relaxed);
            }
            Some(error) => self.listener.failed(error),
            None => {}
        }
    }
}

/// Looks up the ids of the partitions' topics in one request. Topics are omitted if that fails: the assignment must not depend
/// on it.
fn ids(consumer: &BaseConsumer<GroupContext>, partitions: &[TopicPartition]) -> BTreeMap<String, String> {
    let names = partitions.iter().map(|partition| partition.topic.to_string()).collect();
    match topic_ids(consumer.client(), &names, LOOK_UP_IDS_WITHIN) {
        Ok(rows) => rows.into_iter().filter_map(|(name, id)| Some((name, topic_id_text(id.ok()?)))).collect(),
        Err(code) => {
            debug!(target: "faust::kafka", "the ids of the assigned topics are unknown: {code}");
            BTreeMap::new()
        }
    }
}

fn partitions_of(list: &TopicPartitionList) -> Vec<TopicPartition> {
    answers(list).into_iter().map(|row| TopicPartition::new(row.topic, row.partition)).collect()
}

fn named(partitions: &[TopicPartition]) -> String {
    let mut by_topic: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for partition in partitions {
        by_topic.entry(&partition.topic).or_default().push(partition.partition.to_string());
    }
    let topics: Vec<_> = by_topic.iter().map(|(topic, numbers)| format!("{topic}[{}]", numbers.join(","))).collect();
    if topics.is_empty() { "no partitions".to_owned() } else { topics.join(" ") }
}
