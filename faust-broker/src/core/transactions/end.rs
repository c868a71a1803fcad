//! The end of transactions: commit and abort.

use crate::core::change::Change;
use crate::core::records::marker::Outcome;
use crate::core::transactions::{LAST_EPOCH, Phase, ProducerIdentity, Transaction};
use crate::core::{BrokerCore, ErrorCode};

/// The end of transactions.
impl BrokerCore {
    /// Commits or aborts the transaction of a producer. With `renews_epoch`, the producer gets a new epoch, so that
    /// nothing it has sent before can be taken for a part of its next transaction (KIP-890). Returns the identity with which
    /// the producer goes on.
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
    ) -> Result<ProducerIdentity, ErrorCode> {
        let held = self.transactions.by_id.get(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        let is_repeated = held.phase == Phase::Complete(outcome) || held.phase == Phase::Ending(outcome);
        if renews_epoch && is_repeated && held.previous == Some(producer) {
            return Ok(held.successor());
        }
        held.check(producer)?;
        match held.phase {
            Phase::Ongoing => {}
            // A client that has not received the response of an abort cannot know whether there was a transaction.
            Phase::Empty | Phase::Complete(_) if renews_epoch && outcome == Outcome::Abort => {}
            Phase::Complete(_) | Phase::Ending(_) if is_repeated && !renews_epoch => return Ok(producer),
            Phase::Ending(_) => return Err(ErrorCode::ConcurrentTransactions),
            Phase::Empty | Phase::Complete(_) => return Err(ErrorCode::InvalidTxnState),
        }
        let producer = self.decide(id, outcome, renews_epoch, now_ms)?;
        // The outcome is decided. If the storage fails now, the rest is done by a later tick.
        self.finish(id).ok();
        Ok(producer)
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

    pub(super) fn write_marker(
        &mut self,
        topic: &str,
        partition: i32,
        producer: ProducerIdentity,
        outcome: Outcome,
        wall_ms: i64,
    ) -> Result<(), ErrorCode> {
        match self.append_marker(topic, partition, producer, outcome, wall_ms) {
            // The topic has been deleted during the transaction, or a newer producer has ended it.
            Err(ErrorCode::UnknownTopicOrPartition | ErrorCode::InvalidProducerEpoch) => Ok(()),
            written => written,
        }
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
        self.append_marker(topic, partition, producer, outcome, wall_ms)
    }

    fn append_marker(
        &mut self,
        topic: &str,
        partition: i32,
        producer: ProducerIdentity,
        outcome: Outcome,
        wall_ms: i64,
    ) -> Result<(), ErrorCode> {
        let held = self.topics.get_mut(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let topic_id = held.id();
        let (log, config) = held.log_mut(partition)?;
        log.end_transaction((producer.id, producer.epoch), outcome, config, wall_ms, self.storage.as_mut())?;
        self.transactions.advanced.insert((topic_id, partition));
        Ok(())
    }
}
