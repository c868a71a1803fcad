//! The end of transactions: commit, abort, timeout, and what a crash has interrupted.

use crate::core::change::Change;
use crate::core::log::Log;
use crate::core::records::marker::Outcome;
use crate::core::transactions::{LAST_EPOCH, Phase, ProducerIdentity, Transaction};
use crate::core::{BrokerCore, ErrorCode};

/// The result of an end: the identity with which the producer goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The producer. It differs from that of the request if each transaction has an epoch of its own.
    pub producer: ProducerIdentity,
}

/// The end of transactions.
impl BrokerCore {
    /// Commits or aborts the transaction of a producer. With `renews_epoch`, the producer gets a new epoch, so that
    /// nothing it has sent before can be taken for a part of its next transaction (KIP-890).
    ///
    /// # Errors
    /// `InvalidProducerIdMapping`, `ProducerFenced`, `InvalidTxnState` if there is no transaction or it has ended
    /// otherwise, `StorageError` if the outcome could not be recorded.
    pub fn end_transaction(
        &mut self,
        id: &str,
        producer: ProducerIdentity,
        outcome: Outcome,
        renews_epoch: bool,
        now_ms: i64,
    ) -> Result<Ended, ErrorCode> {
        let held = self.transactions.by_id.get(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        let is_repeated = held.phase == Phase::Complete(outcome) || held.phase == Phase::Ending(outcome);
        if renews_epoch && is_repeated && held.previous == Some(producer) {
            return Ok(Ended { producer: held.successor() });
        }
        held.check(producer)?;
        match held.phase {
            Phase::Ongoing => {}
            // A client that has not received the response of an abort cannot know whether there was a transaction.
            Phase::Empty | Phase::Complete(_) if renews_epoch && outcome == Outcome::Abort => {}
            Phase::Complete(_) | Phase::Ending(_) if is_repeated && !renews_epoch => return Ok(Ended { producer }),
            Phase::Ending(_) => return Err(ErrorCode::ConcurrentTransactions),
            Phase::Empty | Phase::Complete(_) => return Err(ErrorCode::InvalidTxnState),
        }
        let producer = self.decide(id, outcome, renews_epoch, now_ms)?;
        // The outcome is decided. If the storage fails now, the rest is done by a later tick.
        self.finish(id).ok();
        Ok(Ended { producer })
    }

    /// Aborts the open transaction of a producer that is fenced.
    pub(super) fn fence_and_abort(&mut self, id: &str, now_ms: i64) -> Result<(), ErrorCode> {
        let held = self.transactions.by_id.get(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        let fenced = ProducerIdentity { epoch: held.producer.epoch.saturating_add(1), ..held.producer };
        let fenced = Transaction { producer: fenced, previous: None, ..held.clone() };
        self.begin_end(id, fenced, Outcome::Abort, now_ms)?;
        self.finish(id)
    }

    /// Records the outcome, which decides. Returns the identity with which the producer goes on.
    fn decide(
        &mut self,
        id: &str,
        outcome: Outcome,
        renews_epoch: bool,
        now_ms: i64,
    ) -> Result<ProducerIdentity, ErrorCode> {
        let mut held = self.transactions.by_id.get(id).ok_or(ErrorCode::InvalidProducerIdMapping)?.clone();
        if renews_epoch {
            held.previous = Some(held.producer);
            held.producer.epoch = held.producer.epoch.saturating_add(1);
            if held.producer.epoch > LAST_EPOCH {
                held.next = Some(ProducerIdentity { id: self.init_producer_id()?, epoch: 0 });
            }
        }
        let producer = held.successor();
        self.begin_end(id, held, outcome, now_ms)?;
        Ok(producer)
    }

    fn begin_end(
        &mut self,
        id: &str,
        mut transaction: Transaction,
        outcome: Outcome,
        now_ms: i64,
    ) -> Result<(), ErrorCode> {
        transaction.phase = Phase::Ending(outcome);
        transaction.changed_ms = self.groups.wall_ms(now_ms);
        self.note_transaction(id, transaction)
    }

    /// Writes the markers of a transaction that is ending, then the offsets that were committed in it.
    pub(super) fn finish(&mut self, id: &str) -> Result<(), ErrorCode> {
        let Some(held) = self.transactions.by_id.get(id) else { return Ok(()) };
        let Phase::Ending(outcome) = held.phase else { return Ok(()) };
        let (producer, decided_ms) = (held.producer, held.changed_ms);
        let next = |held: &Transaction| {
            let (topic, partitions) = held.partitions.first_key_value()?;
            Some((topic.clone(), partitions.first().copied()))
        };
        while let Some((topic, partition)) = self.transactions.by_id.get(id).and_then(next) {
            if let Some(partition) = partition {
                self.write_marker(&topic, partition, producer, outcome, decided_ms)?;
            }
            if let Some(held) = self.transactions.by_id.get_mut(id) {
                held.leave(&topic, partition);
            }
        }
        let mut complete = self.transactions.by_id.get(id).ok_or(ErrorCode::InvalidProducerIdMapping)?.clone();
        complete.phase = Phase::Complete(outcome);
        let groups = std::mem::take(&mut complete.groups);
        complete.producer = complete.successor();
        complete.next = None;
        for group in groups {
            let ended = Change::OffsetsDecided { group, producer_id: producer.id, outcome };
            self.note(&ended)?;
            self.groups.apply(ended);
        }
        self.note_transaction(id, complete)
    }

    fn write_marker(
        &mut self,
        topic: &str,
        partition: i32,
        producer: ProducerIdentity,
        outcome: Outcome,
        wall_ms: i64,
    ) -> Result<(), ErrorCode> {
        // The topic may have been deleted during the transaction.
        let Some(held) = self.topics.get_mut(topic) else { return Ok(()) };
        let topic_id = held.id();
        let Ok((log, config)) = held.log_mut(partition) else { return Ok(()) };
        let identity = (producer.id, producer.epoch);
        match log.end_transaction(identity, outcome, config, wall_ms, self.storage.as_mut()) {
            // A newer producer has ended it.
            Ok(()) | Err(ErrorCode::InvalidProducerEpoch) => {}
            Err(code) => return Err(code),
        }
        self.transactions.advanced.push((topic_id, partition));
        Ok(())
    }

    /// Writes a marker for a producer whatever the coordinator knows of it, for an administrator that ends a transaction
    /// which hangs.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`, `InvalidProducerEpoch` if there is a newer producer, `StorageError`.
    pub fn force_marker(
        &mut self,
        topic: &str,
        partition: i32,
        producer: ProducerIdentity,
        outcome: Outcome,
        now_ms: i64,
    ) -> Result<(), ErrorCode> {
        let wall_ms = self.groups.wall_ms(now_ms);
        let held = self.topics.get_mut(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let topic_id = held.id();
        let (log, config) = held.log_mut(partition)?;
        let identity = (producer.id, producer.epoch);
        log.end_transaction(identity, outcome, config, wall_ms, self.storage.as_mut())?;
        self.transactions.advanced.push((topic_id, partition));
        Ok(())
    }

    /// Aborts transactions that have timed out, and goes on with ends that the storage has interrupted.
    pub(crate) fn tick_transactions(&mut self, now_ms: i64) {
        let wall_ms = self.groups.wall_ms(now_ms);
        let is_due = |held: &Transaction| match held.phase {
            Phase::Ongoing => wall_ms.saturating_sub(held.started_ms) >= i64::from(held.timeout_ms),
            Phase::Ending(_) => true,
            Phase::Empty | Phase::Complete(_) => false,
        };
        let due: Vec<(String, Phase)> = self
            .transactions
            .by_id
            .iter()
            .filter(|(_, held)| is_due(held))
            .map(|(id, held)| (id.clone(), held.phase))
            .collect();
        for (id, phase) in due {
            let ended = if phase == Phase::Ongoing {
                tracing::warn!(transactional_id = id, "aborted a transaction that has timed out");
                self.fence_and_abort(&id, now_ms)
            } else {
                self.finish(&id)
            };
            if let Err(code) = ended {
                tracing::error!(transactional_id = id, %code, "cannot end a transaction; it is tried again");
            }
        }
    }

    /// Forgets transactional ids that have not been used for `transactional.id.expiration.ms`.
    pub(crate) fn expire_transactional_ids(&mut self, wall_ms: i64) {
        let oldest_ms = wall_ms.saturating_sub(self.values.number("transactional.id.expiration.ms"));
        let is_unused =
            |held: &Transaction| matches!(held.phase, Phase::Empty | Phase::Complete(_)) && held.changed_ms < oldest_ms;
        let unused = self.transactions.by_id.iter().filter(|(_, held)| is_unused(held));
        for id in unused.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            let forgotten = Change::TransactionForgotten { id };
            // If it cannot be written, which is logged, the next check tries again.
            if self.note(&forgotten).is_err() {
                return;
            }
            self.transactions.apply(forgotten);
        }
    }

    /// Completes the transactions that were ending when the broker was stopped, and aborts those that no coordinator
    /// knows: their part of the journal is lost.
    pub(crate) fn recover_transactions(&mut self) -> Result<(), ErrorCode> {
        let ending: Vec<String> = self
            .transactions
            .by_id
            .iter()
            .filter(|(_, held)| matches!(held.phase, Phase::Ending(_)))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ending {
            self.drop_finished_partitions(&id);
            self.finish(&id)?;
        }
        self.abort_hanging_transactions()?;
        self.transactions.advanced.clear();
        Ok(())
    }

    /// Aborts the transactions that a log has open and that no coordinator knows: the journal or a marker is lost.
    pub(in crate::core) fn abort_hanging_transactions(&mut self) -> Result<(), ErrorCode> {
        for (topic, partition, producer_id) in self.hanging_transactions() {
            tracing::warn!(topic, partition, producer_id, "aborted a transaction that the journal does not know");
            let log = self.log(&topic, partition)?;
            let epoch = log.producer_epoch(producer_id).unwrap_or_default();
            let producer = ProducerIdentity { id: producer_id, epoch };
            self.write_marker(&topic, partition, producer, Outcome::Abort, log.latest_ms())?;
        }
        Ok(())
    }

    /// Removes the partitions whose markers were written before a crash.
    fn drop_finished_partitions(&mut self, id: &str) {
        let topics = &self.topics;
        if let Some(held) = self.transactions.by_id.get_mut(id) {
            let producer_id = held.producer.id;
            let is_open = |log: &Log| log.transactions().open_since(producer_id).is_some();
            for (topic, partitions) in &mut held.partitions {
                let log = |partition: i32| topics.get(topic).and_then(|topic| topic.log(partition).ok());
                partitions.retain(|partition| log(*partition).is_some_and(is_open));
            }
        }
    }

    fn hanging_transactions(&self) -> Vec<(String, i32, i64)> {
        let mut hanging = Vec::new();
        for (name, topic) in &self.topics {
            for (partition, log) in (0..).zip(&topic.logs) {
                let open = log.transactions().open_producers();
                let unknown = open.filter(|producer| !self.transactions.knows(*producer, name, partition));
                hanging.extend(unknown.map(|producer_id| (name.clone(), partition, producer_id)));
            }
        }
        hanging
    }
}
