//! The messages that a producer of the in-memory cluster has accepted and not yet sent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use faust_broker::core::{Appended, Batch, ErrorCode, Producer as ProducerId, ProducerIdentity, Record, records};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::cluster::{HeldAnswer, MemoryCluster, State, refused};
use super::faults::ClusterFault;
use super::observer::StoredMessage;
use crate::error::TransportError;
use crate::message::Offset;
use crate::time::Timestamp;
use crate::transport::delivery::Delivery;
use crate::transport::port::TopicPartition;
use crate::transport::send::delivery_of;

/// Maximum time for which a slow producer keeps messages of a partition.
const MAX_DELAY: Duration = Duration::from_secs(3);
/// Maximum time for which the buffer is full.
const MAX_FULL: Duration = Duration::from_millis(200);

/// A producer. It sends at once, unless the cluster makes it slow; the order within a partition is kept.
pub(super) struct MemoryProducer {
    cluster: MemoryCluster,
    /// The cluster's faults do not concern the driver's own producer.
    is_faulty: bool,
    /// The messages of the partitions that are held up.
    waiting: Mutex<Waiting>,
    /// The end of the time for which the buffer is full. The message after it is accepted.
    full_until: Mutex<Option<Instant>>,
    /// The producer has failed for good.
    lost: watch::Sender<bool>,
    /// The identity of a producer of transactions, and the next sequence number of each partition.
    transactional: Option<Transactional>,
}

struct Transactional {
    identity: Arc<Mutex<ProducerIdentity>>,
    sequences: Mutex<BTreeMap<TopicPartition, (ProducerIdentity, i32)>>,
    /// Number of messages in the open transaction.
    appended: AtomicU64,
    /// Messages were discarded whose sequence numbers the log has, and the next ones get them.
    is_spent: AtomicBool,
}

impl Transactional {
    /// Takes back the sequence number of a message that is in the log, as librdkafka 2.12.1 does for those that an abort discards.
    fn take_back(&self, partition: &TopicPartition) {
        if let Some((_, next)) = self.sequences.lock().unwrap_or_else(PoisonError::into_inner).get_mut(partition) {
            *next -= 1;
        }
        self.is_spent.store(true, Ordering::Relaxed);
    }
}

/// Messages by partition, in their order, each with its delivery.
type Waiting = BTreeMap<TopicPartition, VecDeque<(Record, Arc<Delivery>)>>;

impl MemoryProducer {
    pub(super) fn new(cluster: MemoryCluster, is_faulty: bool) -> Arc<Self> {
        Arc::new(Self {
            cluster,
            is_faulty,
            waiting: Mutex::default(),
            full_until: Mutex::default(),
            lost: watch::Sender::new(false),
            transactional: None,
        })
    }

    /// Creates a producer of transactions. Its identity may change with each transaction.
    pub(super) fn transactional(cluster: MemoryCluster, identity: Arc<Mutex<ProducerIdentity>>) -> Arc<Self> {
        let transactional = Some(Transactional {
            identity,
            sequences: Mutex::default(),
            appended: AtomicU64::new(0),
            is_spent: AtomicBool::new(false),
        });
        Arc::new(Self {
            cluster,
            is_faulty: true,
            waiting: Mutex::default(),
            full_until: Mutex::default(),
            lost: watch::Sender::new(false),
            transactional,
        })
    }

    /// Discards the messages that are held up, and those whose acknowledgement is held.
    pub(super) fn purge(&self) {
        *self.full_until() = None;
        let waiting = std::mem::take(&mut *self.waiting()).into_values().flatten().map(|(_, delivery)| delivery);
        let own = |answer: &mut HeldAnswer| answer.producer == self.id();
        let held = self.cluster.state().held.as_mut().map(|held| held.extract_if(.., own).collect::<Vec<_>>());
        let held = held.into_iter().flatten().map(|answer| {
            self.transactional.iter().for_each(|own| own.take_back(&answer.partition));
            answer.delivery
        });
        for delivery in waiting.chain(held) {
            delivery.done(Err(TransportError::retriable("delivery", "the transaction was aborted")));
        }
    }

    /// Returns whether the log may take the messages of the next transaction for those of an aborted one.
    pub(super) fn is_spent(&self) -> bool {
        self.transactional.as_ref().is_some_and(|own| own.is_spent.load(Ordering::Relaxed))
    }

    /// Ends a transaction. Returns the number of its messages.
    pub(super) fn end_transaction(&self) -> u64 {
        self.transactional.as_ref().map_or(0, |own| own.appended.swap(0, Ordering::Relaxed))
    }

    /// Returns the id, if the producer makes transactions.
    fn id(&self) -> Option<i64> {
        let identity = &self.transactional.as_ref()?.identity;
        Some(identity.lock().unwrap_or_else(PoisonError::into_inner).id)
    }

    /// Returns whether there is no room for a message at this moment.
    pub(super) fn is_full(&self) -> bool {
        let mut full_until = self.full_until();
        let now = Instant::now();
        if let Some(until) = *full_until {
            if now >= until {
                *full_until = None;
            }
            return now < until;
        }
        let mut state = self.cluster.state();
        if self.is_faulty && state.faults.occurs(ClusterFault::FullBuffer) {
            *full_until = Some(now + state.faults.short_time(MAX_FULL));
        }
        full_until.is_some()
    }

    /// Waits until there is room.
    pub(super) async fn room(&self) {
        let until = *self.full_until();
        if let Some(until) = until {
            sleep_until(until).await;
        }
    }

    fn full_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.full_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cluster(&self) -> &MemoryCluster {
        &self.cluster
    }

    /// Sends a record, now or later. The delivery counts it.
    pub(super) fn send(
        self: &Arc<Self>,
        to: TopicPartition,
        record: Record,
        delivery: &Arc<Delivery>,
    ) -> Result<(), TransportError> {
        if self.fails() {
            delivery.sent();
            delivery.done(Err(failed_for_good()));
            return Ok(());
        }
        let mut waiting = self.waiting();
        if let Some(queue) = waiting.get_mut(&to) {
            delivery.sent();
            queue.push_back((record, Arc::clone(delivery)));
            return Ok(());
        }
        delivery.sent();
        let Some(delay) = self.delay() else {
            drop(waiting);
            return match self.append(&to, record, delivery) {
                // The driver's own messages fail at once, for its tests, and do not count.
                Err(error) if !self.is_faulty => {
                    delivery.done(Ok(None));
                    Err(error)
                }
                // As with librdkafka, the brokers' refusal is known later.
                Err(error) => {
                    delivery.done(Err(error));
                    Ok(())
                }
                Ok(()) => Ok(()),
            };
        };
        waiting.insert(to.clone(), VecDeque::from([(record, Arc::clone(delivery))]));
        drop(waiting);
        // Weak: the messages that wait in the producer of a crashed worker are lost.
        tokio::spawn(release(Arc::downgrade(self), to, delay));
        Ok(())
    }

    /// Returns the number of messages that have not been sent yet.
    pub(super) fn pending(&self) -> usize {
        self.waiting().values().map(VecDeque::len).sum()
    }

    /// Waits until the producer has failed for good.
    pub(super) async fn lost(&self) -> TransportError {
        // Cannot fail: `self` owns the sender.
        drop(self.lost.subscribe().wait_for(|lost| *lost).await);
        failed_for_good()
    }

    /// Returns whether the producer has failed for good, or does so now. It loses the messages that it has not sent.
    fn fails(&self) -> bool {
        if *self.lost.borrow() {
            return true;
        }
        if !self.is_faulty || self.transactional.is_some() {
            return false;
        }
        let mut state = self.cluster.state();
        if !state.faults.draw(ClusterFault::ProducerFailed) || state.faults.below(16) > 0 {
            return false;
        }
        state.faults.caused(ClusterFault::ProducerFailed);
        drop(state);
        self.lost.send_replace(true);
        let waiting = std::mem::take(&mut *self.waiting()).into_values().flatten();
        waiting.for_each(|(_, delivery)| delivery.done(Err(failed_for_good())));
        true
    }

    fn delay(&self) -> Option<Duration> {
        let mut state = self.cluster.state();
        let is_slow = self.is_faulty && state.faults.occurs(ClusterFault::SlowSend);
        is_slow.then(|| state.faults.short_time(MAX_DELAY))
    }

    /// Appends a record, which its delivery has counted, to the log, and reports the result to the delivery.
    ///
    /// # Errors
    /// The cluster refuses the record. The caller reports that to the delivery.
    fn append(&self, to: &TopicPartition, record: Record, delivery: &Arc<Delivery>) -> Result<(), TransportError> {
        let (key, value) = (record.key.clone(), record.value.clone());
        let what = || delivery_of(&to.topic, key.as_deref(), value.as_deref());
        let timed_out = || Err(TransportError::retriable(what(), "the message has timed out"));
        let (now, timestamp) = (self.cluster.time(), Timestamp(record.timestamp));
        let mut state = self.cluster.state();
        if self.is_faulty && state.faults.occurs(ClusterFault::RefusedSend) {
            return Err(TransportError::fatal(what(), "the topic's authorization has failed"));
        }
        if self.is_faulty && state.faults.occurs(ClusterFault::FailedSend) {
            drop(state);
            delivery.done(timed_out());
            return Ok(());
        }
        let appended = self.append_to(&mut state, to, &record, now).map_err(|code| refused(&what(), code))?;
        state.active();
        let offset = Offset(appended.base_offset);
        self.cluster.report(|observer, now| {
            let message =
                StoredMessage { partition: to.clone(), offset, timestamp, key: key.clone(), payload: value.clone() };
            observer.stored(&self.cluster.client, message, now);
        });
        let wakers = std::mem::take(&mut state.wakers);
        let answer = if let Some(held) = &mut state.held {
            let (delivery, partition) = (Arc::clone(delivery), to.clone());
            held.push(HeldAnswer { delivery, partition, offset, producer: self.id() });
            None
        } else if self.is_faulty && state.faults.occurs(ClusterFault::LostSendAnswer) {
            Some(timed_out())
        } else {
            Some(Ok(Some(offset)))
        };
        drop(state);
        wakers.into_iter().for_each(std::task::Waker::wake);
        if let Some(answer) = answer {
            delivery.done(answer);
        }
        Ok(())
    }

    /// Appends a record to the log, in the producer's transaction if it has any.
    fn append_to(
        &self,
        state: &mut State,
        to: &TopicPartition,
        record: &Record,
        now: Timestamp,
    ) -> Result<Appended, ErrorCode> {
        let record = std::slice::from_ref(record);
        let Some(Transactional { identity, sequences, appended: count, .. }) = &self.transactional else {
            let batch = records::encode(record, ProducerId::NONE).and_then(Batch::parse)?;
            return state.broker.append(&to.topic, to.partition, &batch, now.0);
        };
        let identity = *identity.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sequences = sequences.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, sequence) = sequences.entry(to.clone()).or_insert((identity, 0));
        if *of != identity {
            (*of, *sequence) = (identity, 0);
        }
        let producer = ProducerId { id: identity.id, epoch: identity.epoch, sequence: *sequence };
        let batch = records::encode(record, producer).and_then(Batch::parse)?.transactional();
        state.broker.enlist(batch.header(), &to.topic, to.partition, now.0)?;
        let appended = state.broker.append(&to.topic, to.partition, &batch, now.0)?;
        *sequence += 1;
        count.fetch_add(1, Ordering::Relaxed);
        Ok(appended)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed_for_good() -> TransportError {
    TransportError::retriable("the producer", "it has failed for good, as the cluster's faults say")
}

/// Sends the messages of a partition after a delay.
async fn release(producer: Weak<MemoryProducer>, to: TopicPartition, delay: Duration) {
    tokio::time::sleep(delay).await;
    let Some(producer) = producer.upgrade() else { return };
    let queue = producer.waiting().remove(&to).unwrap_or_default();
    for (record, delivery) in queue {
        if let Err(error) = producer.append(&to, record, &delivery) {
            delivery.done(Err(error));
        }
    }
}
