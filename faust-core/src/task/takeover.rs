//! The takeover of a task by its new owner, between the restore of its tables and its first run.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::{FutureExt, TryFutureExt};

use super::context::TaskCx;
use super::partition::TaskPartition;
use super::partition_task::{Task, generation};
use super::seal_writer::SealWriter;
use super::tables::{SealedChanges, SealedTable, TaskTables};
use crate::error::{Error, TransportError, TransportErrorKind};
use crate::message::Offset;
use crate::offsets::{CommitMetadata, CommitVersion, OwnerEpoch};
use crate::transport::{Committed, RefusedOffsets, Retries, TopicPartition};

/// The takeover of a task by its new owner: writes the keys again whose last records do not count, and commits the own epoch.
///
/// IMPORTANT: in this order. If the epoch were committed first, a crash and a late commit of the former owner together would
/// lose what it has committed.
pub(super) struct Takeover {
    cx: Arc<TaskCx>,
    parts: Vec<TaskPartition>,
    offsets: BTreeMap<TopicPartition, Offset>,
    /// Metadata of the commit, at the positions of the last one.
    metadata: CommitMetadata,
    /// A partition has no commit of this app yet. It is made before anything is written to a changelog: from then on, a
    /// missing commit means that the offsets were deleted or changed.
    is_first: bool,
    generation: OwnerEpoch,
}

/// The restored tables of a task, with the epoch under which it owns them.
pub(super) struct OwnedTables {
    pub(super) tables: Arc<TaskTables>,
    /// Epoch of this owner, and the highest number in use.
    pub(super) version: CommitVersion,
    pub(super) writer: Arc<SealWriter>,
}

impl Takeover {
    pub(super) fn of(task: &Task) -> Self {
        Self {
            cx: Arc::clone(&task.cx),
            parts: task.parts.clone(),
            offsets: task.marks().offsets,
            metadata: task.metadata(),
            is_first: !task.parts.iter().all(|part| part.mark().is_some()),
            generation: generation(&task.parts),
        }
    }

    /// `seen` is the highest epoch and the highest number found in a changelog.
    pub(super) async fn run(mut self, tables: Arc<TaskTables>, seen: CommitVersion) -> Result<OwnedTables, Error> {
        let epoch = self.metadata.version.epoch.max(seen.epoch.above(self.generation));
        let mut version = CommitVersion { epoch, number: self.metadata.version.number.max(seen.number) };
        let (sink, stats) = (Arc::clone(&self.cx.sink), Arc::clone(&self.cx.stats));
        let writer = SealWriter::spawn(sink, stats, Arc::clone(&self.cx.recovery.in_flight), epoch);
        tables.set_epoch(epoch);
        let rewritten = self.rewrite(&tables, &writer).await?;
        if self.is_first || !rewritten.is_empty() {
            version.number = version.number.next();
            self.metadata.version = version;
            self.metadata.tables = tables.marks(|table| table.restored.number);
            self.parts.iter().for_each(|part| part.begin_commit(version));
            self.commit().await?;
            rewritten.into_iter().for_each(SealedTable::committed);
        }
        Ok(OwnedTables { tables, version, writer })
    }

    /// Retries until the commit succeeds. A rebalance that revokes the partition ends the task, and this future with
    /// it; after any other rebalance, the next attempt succeeds.
    async fn commit(&self) -> Result<(), Error> {
        let metadata = self.metadata.to_text();
        let committed = |offset: &Offset| Committed { offset: *offset, metadata: metadata.clone() };
        let offsets: BTreeMap<_, _> = self.offsets.iter().map(|(of, offset)| (of.clone(), committed(offset))).collect();
        let retried = |error: TransportError| match error.kind {
            TransportErrorKind::Fatal => error,
            _ => TransportError { kind: TransportErrorKind::Retriable, ..error },
        };
        let attempt = || {
            let attempt = async {
                if let Some(part) = self.parts.iter().find(|part| !part.is_owned(&self.cx.ownership)) {
                    // The worker ends the task as soon as it handles the revocation.
                    return Err(TransportError::retriable(
                        "commit",
                        format!("{} was given away", part.reader.partition()),
                    ));
                }
                let refused = self.request(&offsets).await?;
                // One topic that accepts it confirms it for all; but one without any commit would be read from its
                // beginning.
                let is_confirmed = refused.is_empty() || (!self.is_first && refused.len() < offsets.len());
                refused.into_values().next().filter(|_| !is_confirmed).map_or(Ok(()), Err)
            };
            attempt.map_err(retried).boxed()
        };
        // Not a warning: a rebalance is no fault.
        let mut retries = Retries::new(|text| tracing::info!("{text}")).of(self.cx.transport.outage());
        retries.run("the broker to accept the commit of the new owner", attempt).await?;
        for part in &self.parts {
            if let Some(committed) = offsets.get(part.reader.partition()) {
                part.commit(committed.clone());
            }
        }
        Ok(())
    }

    /// Commits the offsets once. Returns those that the broker has refused.
    async fn request(&self, offsets: &BTreeMap<TopicPartition, Committed>) -> Result<RefusedOffsets, TransportError> {
        let Some(transactor) = &self.cx.transactor else { return self.cx.group.commit(offsets.clone()).await };
        // In a transaction: a plain commit could be carried out late, after one.
        let committed = transactor.commit_offsets(offsets.clone(), self.parts.clone()).await;
        let refused = offsets.keys().filter(|partition| !committed.contains_key(partition));
        let why = || TransportError::retriable("commit", "the transaction was aborted, or the topic was deleted");
        Ok(refused.map(|partition| (partition.clone(), why())).collect())
    }

    /// Writes the keys to the changelogs again that a restore has found changed without effect. They carry the committed
    /// number, since they are the committed values. Returns the sealed changes once they are acknowledged.
    async fn rewrite(&self, tables: &TaskTables, writer: &SealWriter) -> Result<Vec<SealedTable>, Error> {
        let mut retries = Retries::default().of(self.cx.transport.outage());
        loop {
            let changes = tables.seal()?;
            let send = |changes: &SealedChanges| changes.send(writer, changes.table.restored.number, None, None);
            let sealed: Vec<_> = changes.iter().map(send).collect();
            let arrived = join_all(sealed.iter().map(|table| table.delivery.all())).await;
            let Some(error) = arrived.into_iter().find_map(Result::err) else {
                sealed.iter().try_for_each(SealedTable::arrived)?;
                return Ok(sealed);
            };
            // Also after a permanent error, such as a missing right: it may be granted, and nothing else helps.
            tables.reopen();
            retries.pause(&format!("waiting to write committed values to a changelog again: {error}")).await;
        }
    }
}
