//! The restore of a task's tables to the last commit, before the task runs.
//!
//! Records of commits that never took effect, and those of a former owner that continued after its loss, are skipped. The
//! takeover then writes the committed values of their keys again.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::changelog::ChangelogRecord;
use super::command::{Command, Drained};
use super::leases::StoreLease;
use super::partition_task::Task;
use super::progress::ProgressReporter;
use super::recovery::{Preparation, PreparedTable, Recovery};
use super::replay::{READ, Replay};
use super::tables::TaskTables;
use super::takeover::{OwnedTables, Takeover};
use crate::error::{Error, TransportError, TransportErrorKind};
use crate::message::{Offset, RawMessage};
use crate::offsets::CommitVersion;
use crate::table_state::PriorValue;
use crate::transport::{PENDING_AFTER, PartitionQueue, Retries, TopicPartition};

/// Time after which the brokers have ended every transaction: its timeout, and the interval at which they look for those that have
/// timed out (`transaction.abort.timed.out.transaction.cleanup.interval.ms`), by default ten seconds each.
const TRANSACTION_END: Duration = Duration::from_secs(20);

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
    replay: Replay,
    /// Offset of the first skipped record. The store's checkpoint must not be beyond it.
    skipped_at: Option<Offset>,
    /// Keys with skipped records, each with what the first of them says about the committed value.
    skipped: BTreeMap<Vec<u8>, PriorValue>,
    /// The highest epoch and the highest number found.
    highest: CommitVersion,
    records: u64,
    fault: Option<Error>,
    retries: Retries,
    /// Reports that the restore waits for a transaction, not each time.
    held: Retries,
}

impl<'a> TableRestore<'a> {
    fn new(recovery: &'a Recovery, prepared: PreparedTable) -> Self {
        let PreparedTable { table, factory, from, .. } = &prepared;
        Self {
            recovery,
            replay: Replay::new(Arc::clone(factory), table.partition, table.identity.clone(), *from),
            skipped_at: None,
            skipped: BTreeMap::new(),
            highest: CommitVersion { number: prepared.cut, ..CommitVersion::default() },
            records: 0,
            fault: None,
            retries: Retries::default(),
            held: Retries::default(),
            prepared,
        }
    }

    pub(super) async fn run(mut self) -> Result<(crate::stage::tables::TaskTable, CommitVersion), Error> {
        let (from, end, full) = (self.prepared.from, self.prepared.end, self.prepared.full);
        let table = &self.prepared.table;
        let mut progress =
            ProgressReporter::start(&self.recovery.listener, table.state.info(), table.partition, (from, end), full);
        let mut queue = self.prepared.queue.take();
        while let Some(queue) = queue.as_mut().filter(|_| self.replay.position < end) {
            let more = self.read(&mut **queue).await?;
            progress.advance(self.replay.position, std::mem::take(&mut self.records));
            if self.replay.is_full() {
                self.flush(self.replay.position < end);
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
        self.replay.position = self.replay.position.max(end);
        self.flush(false);
        self.prepared.table.state.repair(&self.skipped)?;
        let progress = progress.end();
        self.recovery.stats().restored(progress.records);
        if self.prepared.from_standby {
            self.recovery.stats().standby_taken_over();
            tracing::info!(table = %progress.table, partition = progress.partition, records = progress.records, "taken over from this worker's standby, which lacked {} records", progress.records);
        }
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
        let Ok(polled) = timeout(PENDING_AFTER, polled).await else {
            if queue.is_held() {
                self.report_held().await;
            }
            return Ok(true);
        };
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

    /// Ends the transaction that holds the changelog if its worker is dead, and reports whom the restore waits for.
    async fn report_held(&mut self) {
        let table = &self.prepared.table;
        let suspects = self.recovery.predecessors.fence(&BTreeSet::from([table.partition])).await;
        let changelog = TopicPartition::new(table.state.info().changelog.as_str(), table.partition);
        self.held.report(&format!(
            "the restore waits at offset {} of {changelog} for the end of an open transaction {suspects}: the brokers end it within {TRANSACTION_END:?} of its begin",
            self.replay.position
        ));
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
        let Self { replay, skipped_at, skipped, highest, prepared, .. } = self;
        let committed = prepared.committed;
        self.records += 1;
        replay.take(message, committed, |record, counts| {
            let ChangelogRecord { version, is_new, .. } = *record;
            highest.epoch = highest.epoch.max(version.epoch);
            highest.number = highest.number.max(version.number);
            if counts {
                // This record counts, so it supersedes the uncommitted records before it.
                skipped.remove(record.key);
                return;
            }
            skipped_at.get_or_insert(message.offset);
            // Keep the flag of the first one, which was written after the committed value. Later ones may have been
            // written after the first. Other owners' last commit may have been another one: a former owner's commit
            // can be carried out after theirs, and does not know theirs.
            let prior = match version.epoch.cmp(&committed.unwrap_or_default().epoch) {
                _ if is_new => PriorValue::Unknown,
                Ordering::Less => PriorValue::Unknown,
                Ordering::Equal => PriorValue::Certain,
                Ordering::Greater => PriorValue::Likely,
            };
            skipped.entry(record.key.to_vec()).or_insert(prior);
        })?;
        replay.position = message.offset.next();
        Ok(())
    }

    /// Passes the records read to the table and its store. `is_partial` is set if more of them follow.
    fn flush(&mut self, is_partial: bool) {
        let batch = self.replay.take_batch();
        if batch.is_empty() && self.replay.position == self.prepared.from {
            return;
        }
        let next = self.skipped_at.unwrap_or(self.replay.position);
        let mark = self.replay.mark((next, self.replay.position), self.prepared.committed, is_partial);
        let table = &self.prepared.table;
        table.state.apply(Arc::new(batch), mark, &table.writer);
    }
}
