//! The partitions of a transaction, and the check of the batches that are sent to them.

use crate::core::batch::Header;
use crate::core::change::Change;
use crate::core::transactions::{Phase, ProducerIdentity};
use crate::core::{BrokerCore, ErrorCode};

/// Partitions of transactions.
impl BrokerCore {
    /// Adds partitions to the transaction of a producer, which begins with the first one. The results are in the order of
    /// `partitions`; if one of them does not exist, none is added.
    ///
    /// # Errors
    /// For all: `InvalidProducerIdMapping`, `ProducerFenced`, `ConcurrentTransactions`, `StorageError`. For one:
    /// `UnknownTopicOrPartition`, and `OperationNotAttempted` for the others.
    pub fn add_partitions(
        &mut self,
        id: &str,
        producer: ProducerIdentity,
        partitions: &[(String, i32)],
        now_ms: i64,
    ) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
        let wall_ms = self.groups.wall_ms(now_ms);
        let held = self.transactions.by_id.get(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        held.check(producer)?;
        let exists = |(topic, partition): &(String, i32)| self.log(topic, *partition).map(|_| ());
        let found: Vec<_> = partitions.iter().map(exists).collect();
        if found.iter().any(Result::is_err) {
            return Ok(found.into_iter().map(|found| found.and(Err(ErrorCode::OperationNotAttempted))).collect());
        }
        if held.phase != Phase::Ongoing {
            let mut opened = held.clone();
            opened.open(wall_ms)?;
            opened.enlist(partitions.to_vec());
            self.note_transaction(id, opened)?;
            return Ok(found);
        }
        let is_new = |(topic, partition): &&(String, i32)| !held.has(topic, *partition);
        let new: Vec<_> = partitions.iter().filter(is_new).cloned().collect();
        if !new.is_empty() {
            let change = Change::PartitionsEnlisted { id: id.to_owned(), partitions: new };
            self.note(&change)?;
            self.transactions.apply(change);
        }
        Ok(found)
    }

    /// Adds a partition to the transaction of a producer, as a client of the second version does by producing to it.
    ///
    /// # Errors
    /// See [`add_partitions`](Self::add_partitions); `InvalidProducerEpoch` for a fenced producer.
    pub fn enlist(&mut self, header: &Header, topic: &str, partition: i32, now_ms: i64) -> Result<(), ErrorCode> {
        if !header.is_transactional() {
            return Ok(());
        }
        let producer = ProducerIdentity { id: header.producer_id, epoch: header.producer_epoch };
        let id = self.transactions.id_of(producer.id).ok_or(ErrorCode::InvalidProducerIdMapping)?.to_owned();
        let added = self.add_partitions(&id, producer, &[(topic.to_owned(), partition)], now_ms);
        match added {
            Ok(each) => each.into_iter().collect(),
            Err(ErrorCode::ProducerFenced) => Err(ErrorCode::InvalidProducerEpoch),
            Err(code) => Err(code),
        }
    }

    /// Checks that a batch may be appended: a transactional one only in the transaction of its producer (KIP-890), and
    /// another one only if the producer has no open transaction there.
    pub(in crate::core) fn check_transaction(
        &self,
        header: &Header,
        topic: &str,
        partition: i32,
    ) -> Result<(), ErrorCode> {
        if header.producer_id < 0 {
            return if header.is_transactional() { Err(ErrorCode::InvalidRecord) } else { Ok(()) };
        }
        if !header.is_transactional() {
            let is_open = self.log(topic, partition)?.transactions().open_since(header.producer_id).is_some();
            return if is_open { Err(ErrorCode::InvalidTxnState) } else { Ok(()) };
        }
        let held = self.transactions.id_of(header.producer_id).and_then(|id| self.transactions.by_id.get(id));
        let held = held.ok_or(ErrorCode::InvalidProducerIdMapping)?;
        if header.producer_epoch != held.producer.epoch {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if self.transactions.is_open_with(header.producer_id, topic, partition) {
            Ok(())
        } else {
            Err(ErrorCode::TransactionAbortable)
        }
    }
}
