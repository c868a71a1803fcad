//! The replay of a changelog: which of its records count, and the batches of those for the table's store. Restores and standbys
//! share it.

use std::sync::Arc;

use super::changelog::{ChangelogRecord, without_offsets};
use crate::error::Error;
use crate::message::{Offset, RawMessage};
use crate::offsets::{CommitVersion, CommittedTable};
use crate::store::mark::StoreIdentity;
use crate::store::{Sealed, SealedBuilder};
use crate::table_state::TableFactory;
use crate::transport::TopicPartition;

/// Number of records per poll.
pub(super) const READ: usize = 512;
/// Number of records after which a batch is passed to the store.
const BATCH: usize = 10_000;
/// Size in bytes after which a batch is passed to the store.
const BATCH_BYTES: usize = 1 << 20;

/// The replay of the changelog of a table's partition.
pub(super) struct Replay {
    factory: Arc<dyn TableFactory>,
    partition: i32,
    identity: StoreIdentity,
    /// The layout of the table's windows.
    layout: Option<String>,
    batch: SealedBuilder,
    /// Next offset to read.
    pub(super) position: Offset,
    buffer: Vec<u8>,
}

impl Replay {
    pub(super) fn new(factory: Arc<dyn TableFactory>, partition: i32, identity: StoreIdentity, from: Offset) -> Self {
        let layout = factory.info().layout();
        Self {
            factory,
            partition,
            identity,
            layout,
            batch: SealedBuilder::default(),
            position: from,
            buffer: Vec::new(),
        }
    }

    /// Adds a record to the batch if it counts, by the committed state of the table. `see` is called with the record, and with
    /// whether it counts. The position stays where it is.
    ///
    /// # Errors
    /// Fails if the record does not belong to the table, or if the changelog has commits whose group has none.
    pub(super) fn take(
        &mut self,
        message: &RawMessage<'_>,
        committed: Option<CommittedTable>,
        see: impl FnOnce(&ChangelogRecord<'_>, bool),
    ) -> Result<bool, Error> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let taken = self.take_record(message, committed, &mut buffer, see);
        self.buffer = buffer;
        taken
    }

    fn take_record(
        &mut self,
        message: &RawMessage<'_>,
        committed: Option<CommittedTable>,
        buffer: &mut Vec<u8>,
        see: impl FnOnce(&ChangelogRecord<'_>, bool),
    ) -> Result<bool, Error> {
        let info = self.factory.info();
        let record = ChangelogRecord::read(info, self.partition, self.layout.as_deref(), message, buffer)?;
        if committed.is_none() && record.version > CommitVersion::default() {
            let changelog = TopicPartition::new(info.changelog.as_str(), self.partition);
            return Err(without_offsets(&info.name, &changelog, record.version.number));
        }
        let counts = committed.is_none_or(|committed| committed.covers(message.offset, record.version));
        see(&record, counts);
        if !counts {
            return Ok(false);
        }
        let key = |out: &mut Vec<u8>| {
            out.extend_from_slice(record.key);
            Ok::<_, Error>(())
        };
        match record.value {
            Some(value) => self.batch.push(false, record.time, key, |out| {
                out.extend_from_slice(value);
                Ok(())
            })?,
            None => self.batch.remove(false, record.time, key)?,
        }
        Ok(true)
    }

    /// Returns whether the batch is so large that it is passed to the store.
    pub(super) fn is_full(&self) -> bool {
        self.batch.len() >= BATCH || self.batch.size_bytes() >= BATCH_BYTES
    }

    /// Returns the records since the last call.
    pub(super) fn take_batch(&mut self) -> Sealed {
        // Slightly more capacity than the last batch used: a buffer that is one byte too small doubles when it grows,
        // and the store's backlog is counted in capacity.
        let bytes = self.batch.size_bytes();
        let next = SealedBuilder::with_capacity(self.batch.len(), bytes + bytes / 16);
        std::mem::replace(&mut self.batch, next).finish()
    }

    /// Returns the checkpoint of a store with all records that count before `next`, and none behind `end`. `is_partial` is set
    /// if records of the last commit are missing.
    pub(super) fn mark(
        &self,
        (next, end): (Offset, Offset),
        committed: Option<CommittedTable>,
        is_partial: bool,
    ) -> Vec<u8> {
        let version = committed.map(|committed| committed.version()).unwrap_or_default();
        self.identity.mark((next, end), version, is_partial)
    }
}
