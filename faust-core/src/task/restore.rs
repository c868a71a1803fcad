//! The restore of a task's tables to the last commit, before the task runs.
//!
//! Records of commits that never took effect, and those of a former owner that continued after its loss, are skipped. The
//! takeover then writes the committed values of their keys again.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::mpsc;

use super::changelog::{ChangelogRecord, without_offsets};
use super::command::{Command, Drained};
use super::partition_task::Task;
use super::progress::ProgressReporter;
use super::recovery::{Preparation, PreparedTable, Recovery};
use super::stores::StoreLease;
use super::tables::TaskTables;
use super::takeover::{OwnedTables, Takeover};
use crate::error::{Error, TransportError, TransportErrorKind};
use crate::message::{Offset, RawMessage};
use crate::offsets::{CommitVersion, CommittedTable};
use crate::store::SealedBuilder;
use crate::table_state::PriorValue;
use crate::transport::{PartitionQueue, Retries, TopicPartition};

/// Number of records per poll.
const READ: usize = 512;
/// Number of records after which a batch is passed to the store.
const BATCH: usize = 10_000;
/// Size in bytes after which a batch is passed to the store.
const BATCH_BYTES: usize = 1 << 20;

impl Task {
    /// Restores the tables, if there are any, and takes the ownership over from the last owner. Returns `false` if the
    /// partition is revoked meanwhile, or if the restore fails.
    pub(super) async fn restore(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> bool {
        let Some(preparation) = self.preparation.take() else { return true };
        let recovery = Arc::clone(&self.cx.recovery);
        let takeover = Takeover::of(self);
        let restoring = async {
            let (tables, seen, leases) = restore(&recovery, preparation).await?;
            Ok::<_, Error>((takeover.run(tables, seen).await?, leases))
        };
        tokio::pin!(restoring);
        let restored = loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    None => return false,
                    // There is nothing to commit yet. The worker may have given up waiting for the answer.
                    Some(Command::Cut(reply)) => drop(reply.send(None)),
                    Some(Command::Resume) => {}
                    Some(Command::Drain(_, reply)) => {
                        drop(reply.send(Drained { cut: None, in_time: true, can_resume: false }));
                        return false;
                    }
                },
                restored = &mut restoring => break restored,
            }
        };
        self.restoring = None;
        match restored {
            Ok((OwnedTables { tables, version, writer }, leases)) => {
                (self.epoch, self.cuts) = (version.epoch, version.number);
                self.leases = leases;
                self.groups.iter_mut().for_each(|group| group.restored(&tables, version.number));
                self.tables = tables;
                self.writer = Some(writer);
                true
            }
            Err(error) => {
                // An error means that the worker has ended already.
                drop(self.cx.failed.send(error));
                // No group runs. Ends with a drain, or with the worker.
                self.drive(commands).await;
                false
            }
        }
    }
}

/// Restores the tables. Returns them with the highest epoch and the highest number found in a changelog, and the leases of
/// their stores.
async fn restore(
    recovery: &Recovery,
    preparation: Preparation,
) -> Result<(Arc<TaskTables>, CommitVersion, Vec<StoreLease>), Error> {
    let lost = || Error::Misuse("the tables could not be prepared; see the log for the reason".to_owned());
    let prepared = preparation.await.map_err(|_| lost())??;
    let mut seen = CommitVersion::default();
    let mut tables = Vec::new();
    for prepared in prepared.tables {
        let (restored, highest) = TableRestore::new(recovery, prepared).run().await?;
        seen = CommitVersion { epoch: seen.epoch.max(highest.epoch), number: seen.number.max(highest.number) };
        recovery.published.publish(&restored);
        recovery.own_parts.add(&restored.own);
        tables.push(restored);
    }
    Ok((TaskTables::new(tables), seen, prepared.leases))
}

/// The restore of one table.
struct TableRestore<'a> {
    recovery: &'a Recovery,
    prepared: PreparedTable,
    /// The layout of the table's windows.
    layout: Option<String>,
    batch: SealedBuilder,
    /// Next offset to read.
    position: Offset,
    /// Offset of the first skipped record. The store's checkpoint must not be beyond it.
    skipped_at: Option<Offset>,
    /// Keys with skipped records, each with what the first of them says about the committed value.
    skipped: BTreeMap<Vec<u8>, PriorValue>,
    /// The highest epoch and the highest number found.
    highest: CommitVersion,
    records: u64,
    buffer: Vec<u8>,
    fault: Option<Error>,
    retries: Retries,
}

impl<'a> TableRestore<'a> {
    fn new(recovery: &'a Recovery, prepared: PreparedTable) -> Self {
        Self {
            recovery,
            layout: prepared.table.state.info().layout(),
            batch: SealedBuilder::default(),
            position: prepared.from,
            skipped_at: None,
            skipped: BTreeMap::new(),
            highest: CommitVersion { number: prepared.cut, ..CommitVersion::default() },
            records: 0,
            buffer: Vec::new(),
            fault: None,
            retries: Retries::default(),
            prepared,
        }
    }

    pub(super) async fn run(mut self) -> Result<(crate::stage::tables::TaskTable, CommitVersion), Error> {
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
        // Offsets without records, such as those of the ends of transactions, are not read again.
        self.position = self.position.max(end);
        self.flush();
        self.prepared.table.state.repair(&self.skipped)?;
        let progress = progress.end();
        self.recovery.stats().restored(progress.records);
        if !self.skipped.is_empty() {
            tracing::info!(table = %progress.table, partition = progress.partition, "{} keys had changes that were never committed; their committed values are written again", self.skipped.len());
        }
        Ok((self.prepared.table, self.highest))
    }

    /// Reads the available records. Returns `false` once the end was reached.
    async fn read(&mut self, queue: &mut dyn PartitionQueue) -> Result<bool, Error> {
        let end = self.prepared.end;
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
                // records. An end before the one that was looked up is that of the part before an open transaction.
                Poll::Pending if queue.end().is_some_and(|at| at >= end || !queue.is_held()) => Poll::Ready(Ok(false)),
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
        let ChangelogRecord { version, is_new, .. } = record;
        self.highest.epoch = self.highest.epoch.max(version.epoch);
        self.highest.number = self.highest.number.max(version.number);
        match self.prepared.committed {
            None if version > CommitVersion::default() => {
                let info = table.state.info();
                let changelog = TopicPartition::new(info.changelog.as_str(), table.partition);
                return Err(without_offsets(&info.name, &changelog, version.number));
            }
            Some(committed) if !committed.covers(message.offset, version) => {
                self.skipped_at.get_or_insert(message.offset);
                // Keep the flag of the first one, which was written after the committed value. Later ones may have been
                // written after the first. Other owners' last commit may have been another one: a former owner's commit
                // can be carried out after theirs, and does not know theirs.
                let prior = match version.epoch.cmp(&committed.epoch) {
                    _ if is_new => PriorValue::Unknown,
                    Ordering::Less => PriorValue::Unknown,
                    Ordering::Equal => PriorValue::Certain,
                    Ordering::Greater => PriorValue::Likely,
                };
                self.skipped.entry(record.key.to_vec()).or_insert(prior);
                self.position = message.offset.next();
                return Ok(());
            }
            // This record counts, so it supersedes the uncommitted records before it.
            _ => drop(self.skipped.remove(record.key)),
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
        self.position = message.offset.next();
        Ok(())
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
        let version =
            |committed: CommittedTable| CommitVersion { epoch: committed.epoch, number: committed.mark.number };
        let version = self.prepared.committed.map(version).unwrap_or_default();
        let mark = table.identity.mark((next, self.position), version);
        table.state.apply(Arc::new(batch), mark, &table.writer);
    }
}
