//! Operations on partitions: append, read, look up offsets, delete records and apply retention.

use crate::core::change::Change;
use crate::core::log::{Appended, FoundOffset, Log, OffsetSpec, Read};
use crate::core::producer_state::ActiveProducer;
use crate::core::storage::LogStorage;
use crate::core::{AppendRules, Batch, BrokerCore, CheckedBatch, ErrorCode, Rejection, note};

/// Partitions.
impl BrokerCore {
    /// Checks a batch and appends it. See [`append_checked`](Self::append_checked) for a broker that is shared.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`, `OutOfOrderSequence`, `InvalidProducerEpoch`, `StorageError`, and those of
    /// [`Batch::check`]. For a batch that is not part of its producer's open transaction: `TransactionAbortable`,
    /// `InvalidProducerIdMapping`, `InvalidTxnState`.
    pub fn append(&mut self, topic: &str, partition: i32, batch: &Batch, now_ms: i64) -> Result<Appended, ErrorCode> {
        let checked = batch.check(&self.append_rules(topic)?, now_ms).map_err(|rejection| rejection.code)?;
        self.append_checked(topic, partition, checked, now_ms).map_err(|rejection| rejection.code)
    }

    /// Returns the rules by which a topic accepts batches, for [`Batch::check`].
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`.
    pub fn append_rules(&self, topic: &str) -> Result<AppendRules, ErrorCode> {
        Ok(self.topics.get(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?.parsed.append)
    }

    /// Appends a batch that has been checked. If the topic's configuration has changed since, it is checked again.
    ///
    /// # Errors
    /// See [`append`](Self::append).
    pub fn append_checked(
        &mut self,
        topic: &str,
        partition: i32,
        checked: CheckedBatch,
        now_ms: i64,
    ) -> Result<Appended, Rejection> {
        self.check_transaction(checked.batch().header(), topic, partition)?;
        let topic = self.topics.get_mut(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let (log, config) = topic.log_mut(partition)?;
        let checked = checked.under(&config.append, now_ms)?;
        Ok(log.append(&checked, config, now_ms, self.storage.as_mut())?)
    }

    /// Reads whole batches from `offset`, up to `max_bytes`, but at least one batch unless `offset` is the end of the
    /// log.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`, `OffsetOutOfRange`, `StorageError`.
    pub fn read(&self, topic: &str, partition: i32, offset: i64, max_bytes: usize) -> Result<Read, ErrorCode> {
        self.log(topic, partition)?.read(offset, max_bytes)
    }

    /// Like [`read`](Self::read), up to the last stable offset, with the aborted transactions whose records the reader must
    /// leave out.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    pub fn read_committed(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        max_bytes: usize,
    ) -> Result<Read, ErrorCode> {
        self.log(topic, partition)?.read_committed(offset, max_bytes)
    }

    /// Like [`find_offset`](Self::find_offset), before the last stable offset, which is the latest one.
    ///
    /// # Errors
    /// See [`find_offset`](Self::find_offset).
    pub fn find_committed_offset(
        &self,
        topic: &str,
        partition: i32,
        spec: OffsetSpec,
    ) -> Result<FoundOffset, ErrorCode> {
        self.log(topic, partition)?.find_committed_offset(spec)
    }

    /// Looks up an offset by timestamp or position.
    ///
    /// A lookup by timestamp finds the exact record, except in a damaged batch, where it finds the batch's first
    /// record.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`, `StorageError`.
    pub fn find_offset(&self, topic: &str, partition: i32, spec: OffsetSpec) -> Result<FoundOffset, ErrorCode> {
        self.log(topic, partition)?.find_offset(spec)
    }

    /// Returns the size of a partition in bytes.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`.
    pub fn partition_bytes(&self, topic: &str, partition: i32) -> Result<u64, ErrorCode> {
        Ok(self.log(topic, partition)?.size())
    }

    /// Returns the idempotent producers that have written to a partition.
    pub(crate) fn active_producers(&self, topic: &str, partition: i32) -> Result<Vec<ActiveProducer>, ErrorCode> {
        Ok(self.log(topic, partition)?.active_producers())
    }

    /// Deletes the records before `offset`, or all records if it is `None`, and returns the new log start offset.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition`, `OffsetOutOfRange`, `StorageError`.
    pub fn delete_records(&mut self, topic: &str, partition: i32, offset: Option<i64>) -> Result<i64, ErrorCode> {
        let held = self.topics.get_mut(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let (log, _) = held.log_mut(partition)?;
        let offset = offset.unwrap_or_else(|| log.end());
        if offset < 0 || offset > log.end() {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        cut(topic, partition, log, offset, self.storage.as_mut())?;
        Ok(log.start())
    }

    pub(crate) fn apply_retention(&mut self, now_ms: i64) {
        for (name, topic) in &mut self.topics {
            for (partition, log) in (0..).zip(&mut topic.logs) {
                log.forget_silent_producers(now_ms);
                let start = log.start_after_retention(&topic.parsed, now_ms);
                if let Err(code) = cut(name, partition, log, start, self.storage.as_mut()) {
                    tracing::error!(topic = name, partition, %code, "cannot apply retention");
                }
            }
        }
    }

    pub(super) fn log(&self, topic: &str, partition: i32) -> Result<&Log, ErrorCode> {
        self.topics.get(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?.log(partition)
    }
}

fn cut(topic: &str, partition: i32, log: &mut Log, offset: i64, storage: &mut dyn LogStorage) -> Result<(), ErrorCode> {
    if offset <= log.start() {
        return Ok(());
    }
    // IMPORTANT: recorded before the segments are deleted; otherwise the log would start at 0 again after a crash in
    // between.
    note(storage, &Change::LogStart { topic: topic.to_owned(), partition, offset })?;
    log.delete_before(offset, storage)
}
