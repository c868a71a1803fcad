//! The restore of a task's tables to the last commit, before the task runs.
//!
//! Records of cuts that were never committed are skipped. The next cut writes the committed values of their keys again,
//! and its number is higher than all numbers seen: a later commit must not make the skipped records valid.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;

use futures_util::{FutureExt, TryFutureExt};
use tokio::sync::mpsc;

use super::changelog::{ChangelogRecord, ChangelogWriter, CutTag};
use super::command::{Command, Drained};
use super::partition::TaskPartition;
use super::partition_task::Task;
use super::progress::ProgressReporter;
use super::recovery::{Preparation, PreparedTable, Recovery};
use super::tables::TaskTables;
use crate::error::{Error, TransportError, TransportErrorKind};
use crate::message::{Offset, RawMessage};
use crate::offsets::{CommitMetadata, CommitNumber};
use crate::store::SealedBuilder;
use crate::transport::{Committed, Group, PartitionQueue, Retries, TopicPartition};

/// Number of records per poll.
const READ: usize = 512;
/// Number of records after which a batch is passed to the store.
const BATCH: usize = 10_000;
/// Size in bytes after which a batch is passed to the store.
const BATCH_BYTES: usize = 1 << 20;

impl Task {
    /// Restores the tables, if there are any. Returns `false` if the partition is revoked meanwhile, or if the restore
    /// fails.
    pub(super) async fn restore(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> bool {
        let Some(preparation) = self.preparation.take() else { return true };
        let committed = self.parts.iter().filter_map(TaskPartition::mark).map(|mark| mark.cut).max();
        let recovery = Arc::clone(&self.cx.recovery);
        let start = FirstMark::of(self);
        let restoring = restore(&recovery, preparation, committed, start);
        tokio::pin!(restoring);
        let restored = loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    None => return false,
                    // There is nothing to commit yet. The worker may have given up waiting for the answer.
                    Some(Command::Cut(reply)) => drop(reply.send(None)),
                    Some(Command::Resolved(_)) => {}
                    Some(Command::Drain(_, reply)) => {
                        drop(reply.send(Drained { cut: None, in_order: true }));
                        return false;
                    }
                },
                restored = &mut restoring => break restored,
            }
        };
        self.restoring = None;
        match restored {
            Ok(Restored { tables, seen }) => {
                self.cuts = self.cuts.max(seen);
                self.tables = tables;
                let (sink, stats) = (Arc::clone(&self.cx.sink), Arc::clone(&self.cx.stats));
                let in_flight = Arc::clone(&self.cx.recovery.in_flight);
                self.changelog = Some(ChangelogWriter::spawn(sink, stats, in_flight));
                true
            }
            Err(error) => {
                // An error means that the worker has ended already.
                drop(self.cx.failed.send(error));
                self.pause_until_drained(commands).await;
                false
            }
        }
    }
}

/// The first commit of a task, at its start positions, if a partition has no commit of this app yet.
///
/// It is made before anything is written to a changelog: from then on, a missing commit means that the offsets were
/// deleted or changed.
struct FirstMark {
    offsets: BTreeMap<TopicPartition, (Offset, CommitMetadata)>,
    parts: Vec<TaskPartition>,
    group: Arc<dyn Group>,
}

impl FirstMark {
    /// Returns `None` if every partition has a commit of this app.
    fn of(task: &Task) -> Option<Self> {
        let is_marked = task.parts.iter().all(|part| part.mark().is_some());
        (!is_marked).then(|| Self {
            offsets: task.offsets(&task.start),
            parts: task.parts.clone(),
            group: Arc::clone(&task.cx.group),
        })
    }

    /// Retries until the commit succeeds. A rebalance that revokes the partition ends the task, and this future with
    /// it; after any other rebalance, the next attempt succeeds.
    async fn commit(self, tables: &TaskTables) -> Result<(), Error> {
        let logs = tables.logs();
        let committed = |(partition, (offset, mark)): (TopicPartition, (Offset, CommitMetadata))| {
            let metadata = CommitMetadata { logs: logs.clone(), ..mark }.to_text();
            (partition, Committed { offset, metadata })
        };
        let offsets: BTreeMap<_, _> = self.offsets.into_iter().map(committed).collect();
        let retried = |error: TransportError| match error.kind {
            TransportErrorKind::Fatal => error,
            _ => TransportError { kind: TransportErrorKind::Retriable, ..error },
        };
        let attempt = || self.group.commit(offsets.clone()).map_err(retried).boxed();
        // Not a warning: a rebalance is no fault.
        let mut retries = Retries::new(|text| tracing::info!("{text}"));
        retries.run("the broker to accept the first commit", attempt).await?;
        for part in &self.parts {
            if let Some(committed) = offsets.get(part.reader.partition()) {
                part.marked(committed.clone());
            }
        }
        Ok(())
    }
}

/// The restored tables of a task.
struct Restored {
    tables: Arc<TaskTables>,
    /// Highest cut number found in a changelog.
    seen: CommitNumber,
}

async fn restore(
    recovery: &Recovery,
    preparation: Preparation,
    committed: Option<CommitNumber>,
    first: Option<FirstMark>,
) -> Result<Restored, Error> {
    let lost = || Error::Misuse("the tables could not be prepared; see the log for the reason".to_owned());
    let prepared = preparation.await.map_err(|_| lost())?;
    let mut seen = committed.unwrap_or_default();
    let mut tables = Vec::new();
    for prepared in prepared? {
        let (restored, highest) = TableRestore::new(recovery, prepared, committed).run().await?;
        seen = seen.max(highest);
        recovery.published.publish(&restored);
        tables.push(restored);
    }
    let tables = TaskTables::new(tables);
    if let Some(first) = first {
        first.commit(&tables).await?;
    }
    Ok(Restored { tables, seen })
}

/// The restore of one table.
struct TableRestore<'a> {
    recovery: &'a Recovery,
    prepared: PreparedTable,
    /// The layout of the table's windows.
    layout: Option<String>,
    committed: Option<CommitNumber>,
    batch: SealedBuilder,
    /// Next offset to read.
    position: Offset,
    /// Offset of the first skipped record. The store's checkpoint must not be beyond it.
    skipped_at: Option<Offset>,
    /// Keys with skipped records, each with whether the key had no value before the first of them.
    skipped: BTreeMap<Vec<u8>, bool>,
    highest: CommitNumber,
    records: u64,
    buffer: Vec<u8>,
    fault: Option<Error>,
    retries: Retries,
}

impl<'a> TableRestore<'a> {
    fn new(recovery: &'a Recovery, prepared: PreparedTable, committed: Option<CommitNumber>) -> Self {
        Self {
            recovery,
            layout: prepared.table.state.info().layout(),
            committed,
            batch: SealedBuilder::default(),
            position: prepared.from,
            skipped_at: None,
            skipped: BTreeMap::new(),
            highest: prepared.cut,
            records: 0,
            buffer: Vec::new(),
            fault: None,
            retries: Retries::default(),
            prepared,
        }
    }

    pub(super) async fn run(mut self) -> Result<(crate::stage::tables::TaskTable, CommitNumber), Error> {
        let (from, end, full) = (self.prepared.from, self.prepared.end, self.prepared.full);
        let table = &self.prepared.table;
        let mut progress =
            ProgressReporter::start(&self.recovery.listener, table.state.info(), table.partition, (from, end), full);
        let mut queue = self.prepared.queue.take();
        while let Some(queue) = queue.as_mut().filter(|_| self.position < end) {
            let more = self.read(&mut **queue).await?;
            progress.advance(self.position, std::mem::take(&mut self.records));
            if self.batch.len() >= BATCH || self.batch.size_bytes() >= BATCH_BYTES {
                self.flush();
                // A table larger than the store's maximum backlog is read at the speed of the store.
                self.recovery.stores.writer().room().await;
            }
            if !more {
                break;
            }
            // Reading never suspends while records are buffered, so yield to the other tasks.
            tokio::task::yield_now().await;
        }
        self.flush();
        self.prepared.table.state.repair(&self.skipped)?;
        let told = progress.end();
        self.recovery.stats().restored(told.records);
        if !self.skipped.is_empty() {
            tracing::info!(table = %told.table, partition = told.partition, "{} keys had changes that were never committed; their committed values are written again", self.skipped.len());
        }
        Ok((self.prepared.table, self.highest))
    }

    /// Reads the available records. Returns `false` once the end was reached.
    async fn read(&mut self, queue: &mut dyn PartitionQueue) -> Result<bool, Error> {
        let polled = std::future::poll_fn(|cx| {
            let polled = queue.poll_batch(cx, READ, &mut |message| {
                if self.fault.is_none() {
                    self.take(&message).unwrap_or_else(|error| self.fault = Some(error));
                }
            });
            match polled {
                Poll::Ready(Ok(_)) => Poll::Ready(Ok(true)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                // The end may be after the last record, if compaction or transaction markers left offsets without
                // records.
                Poll::Pending if queue.end().is_some() => Poll::Ready(Ok(false)),
                Poll::Pending => Poll::Pending,
            }
        });
        let polled = polled.await;
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        match polled {
            Ok(more) => Ok(more),
            Err(error) => {
                let retried = self.retries.after("the broker to continue the restore", error).await;
                retried.map(|()| true).map_err(|error| self.unreadable(error))
            }
        }
    }

    fn unreadable(&self, error: TransportError) -> Error {
        if error.kind != TransportErrorKind::OffsetOutOfRange {
            return error.into();
        }
        let table = &self.prepared.table;
        Error::State {
            table: table.state.info().name.to_string(),
            partition: table.partition,
            why: format!(
                "its changelog `{}` was truncated while it was read ({error}); restart the worker",
                table.state.info().changelog
            ),
        }
    }

    fn take(&mut self, message: &RawMessage<'_>) -> Result<(), Error> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let taken = self.take_record(message, &mut buffer);
        self.buffer = buffer;
        taken
    }

    fn take_record(&mut self, message: &RawMessage<'_>, buffer: &mut Vec<u8>) -> Result<(), Error> {
        let table = &self.prepared.table;
        let record = ChangelogRecord::read(table, self.layout.as_deref(), message, buffer)?;
        self.records += 1;
        if let Some(CutTag { number, is_new }) = record.cut {
            self.highest = self.highest.max(number);
            let Some(committed) = self.committed else { return Err(self.uncommitted(number)) };
            if number > committed {
                self.skipped_at.get_or_insert(message.offset);
                // Keep the flag of the first one, which was written after the committed value. Later ones may have been
                // written after the first.
                self.skipped.entry(record.key.to_vec()).or_insert(is_new);
                self.position = message.offset.next();
                return Ok(());
            }
            // This record is committed, so it supersedes the uncommitted records before it.
            self.skipped.remove(record.key);
        }
        let key = |out: &mut Vec<u8>| {
            out.extend_from_slice(record.key);
            Ok::<_, Error>(())
        };
        match record.value {
            Some(value) => self.batch.push(false, key, |out| {
                out.extend_from_slice(value);
                Ok(())
            })?,
            None => self.batch.remove(false, key)?,
        }
        self.position = message.offset.next();
        Ok(())
    }

    fn uncommitted(&self, cut: CommitNumber) -> Error {
        let table = &self.prepared.table;
        Error::State {
            table: table.state.info().name.to_string(),
            partition: table.partition,
            why: format!(
                "its changelog `{}` holds cut {cut}, but there is no commit of this app: the group's offsets were deleted or changed, or they expired while no worker ran; run `reset --topics` to start over",
                table.state.info().changelog
            ),
        }
    }

    /// Passes the records read to the table and its store.
    fn flush(&mut self) {
        // Slightly more capacity than the last batch used: a buffer that is one byte too small doubles when it grows,
        // and the store's backlog is counted in capacity.
        let bytes = self.batch.size_bytes();
        let next = SealedBuilder::with_capacity(self.batch.len(), bytes + bytes / 16);
        let batch = std::mem::replace(&mut self.batch, next).finish();
        let table = &self.prepared.table;
        if batch.is_empty() && self.position == self.prepared.from {
            return;
        }
        let next = self.skipped_at.unwrap_or(self.position);
        let mark = table.identity.mark(next, self.committed.unwrap_or_default());
        table.state.apply(Arc::new(batch), mark, &table.writer);
    }
}
