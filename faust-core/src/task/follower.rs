//! A standby of a table's partition: applies what is committed to a store of this worker while another worker owns the partition.
//!
//! A follower reads the changelog behind the store's checkpoint, and applies records up to the first one that does not count.
//! The checkpoint never passes that record: it may count once the owner has committed, or never. The in-memory state of
//! tables is not involved, so a takeover is a restore from a store that lacks little.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;

use tokio::sync::watch;

use super::check::is_ahead;
use super::leases::StandbyLease;
use super::recovery::Recovery;
use super::replay::{READ, Replay};
use crate::error::{Error, TransportError};
use crate::message::{Offset, OwnedMessage, RawMessage};
use crate::offsets::{CommitMetadata, CommitVersion, CommittedTable};
use crate::store::{Job, Store, StoreError, StoreName};
use crate::transport::PartitionQueue;

/// The metadata of the last commits of a task, from each of its topics.
pub(crate) type TaskCommits = Arc<Vec<CommitMetadata>>;

/// The progress of a standby, for the worker's status.
#[derive(Debug)]
pub(crate) struct StandbyProgress {
    pub(crate) table: Arc<str>,
    pub(crate) partition: i32,
    /// Number of offsets between the standby and the last commit; the greatest number until it is known.
    lag: AtomicU64,
    /// Number of records applied.
    records: AtomicU64,
    /// The standby had everything that was committed at some time.
    was_complete: AtomicBool,
}

impl StandbyProgress {
    pub(crate) fn new(table: Arc<str>, partition: i32) -> Self {
        let (lag, records, was_complete) = (AtomicU64::new(u64::MAX), AtomicU64::default(), AtomicBool::default());
        Self { table, partition, lag, records, was_complete }
    }

    /// Returns the number of changelog offsets between the standby and the last commit; `None` until it is known.
    pub(crate) fn lag(&self) -> Option<u64> {
        Some(self.lag.load(Ordering::Relaxed)).filter(|lag| *lag != u64::MAX)
    }

    /// Returns the number of records that the standby has applied.
    pub(crate) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }
}

/// The reason for which a follower has ended by itself.
#[derive(Debug)]
pub(crate) enum StandbyFault {
    /// The group has gone back to an earlier commit, so that the store is ahead.
    Ahead,
    /// A write to the store has failed.
    Unwritten,
    Error(Error),
}

impl From<Error> for StandbyFault {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<TransportError> for StandbyFault {
    fn from(error: TransportError) -> Self {
        Self::Error(error.into())
    }
}

impl std::fmt::Display for StandbyFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ahead => f.write_str("the group has gone back to an earlier commit"),
            Self::Unwritten => f.write_str("its store cannot be written; check whether the disk is full"),
            Self::Error(error) => error.fmt(f),
        }
    }
}

/// The standby of a table's partition.
pub(crate) struct Follower {
    pub(super) recovery: Arc<Recovery>,
    pub(super) name: StoreName,
    pub(super) replay: Replay,
    pub(super) store: Arc<dyn Store>,
    pub(super) queue: Box<dyn PartitionQueue>,
    pub(super) commits: watch::Receiver<TaskCommits>,
    pub(super) progress: Arc<StandbyProgress>,
    pub(super) state: FollowerState,
}

/// The state of a [`Follower`] between two polls.
#[derive(Default)]
pub(super) struct FollowerState {
    committed: Option<CommittedTable>,
    /// Records that were read and do not count yet: the first one does not, and those behind it wait for it.
    held: VecDeque<OwnedMessage>,
    /// The last poll has reached the end of the changelog.
    is_at_end: bool,
    /// The offset behind the last record that was applied. The position may be beyond it, behind the end of a transaction that was
    /// aborted, which no commit has to cover.
    applied_end: Offset,
    /// Everything before this offset was passed to the store.
    passed: Offset,
    /// The checkpoint that was written last.
    marked: Option<(Offset, CommitVersion, bool)>,
    /// Set if a write has failed.
    has_failed: Arc<AtomicBool>,
}

impl FollowerState {
    /// Creates the state of a follower whose store has everything before `passed`, with records up to `records_end`: before it if
    /// only the ends of transactions follow, and possibly behind it in a store that an owner has written.
    pub(super) fn at(passed: Offset, records_end: Offset) -> Self {
        Self { applied_end: records_end.min(passed), passed, ..Self::default() }
    }
}

impl Follower {
    /// Follows the changelog until a task needs the store.
    ///
    /// # Errors
    /// Fails if the changelog cannot be read, or the store cannot be kept.
    pub(super) async fn run(mut self, mut lease: StandbyLease) -> Result<(), StandbyFault> {
        lease.begin();
        loop {
            self.look_at_commits()?;
            self.apply_held()?;
            let waits = self.state.committed.is_none() || !self.state.held.is_empty() || self.state.is_at_end;
            tokio::select! {
                biased;
                () = lease.revoked() => return Ok(()),
                next = self.advance(waits) => next?,
            }
        }
    }

    /// Takes the last look-up of the group's commits into account.
    fn look_at_commits(&mut self) -> Result<(), StandbyFault> {
        if self.state.has_failed.load(Ordering::Relaxed) {
            return Err(StandbyFault::Unwritten);
        }
        let commits = Arc::clone(&self.commits.borrow());
        let Some(committed) = CommittedTable::of(&self.progress.table, &commits) else { return Ok(()) };
        let applied = self.state.committed.unwrap_or(committed).version();
        if is_ahead(applied, self.state.applied_end, committed) {
            return Err(StandbyFault::Ahead);
        }
        self.state.committed = Some(committed);
        Ok(())
    }

    /// Applies the records that were held back and count by now.
    fn apply_held(&mut self) -> Result<(), StandbyFault> {
        let Some(committed) = self.state.committed else { return Ok(()) };
        let mut applied = 0;
        while let Some(message) = self.state.held.pop_front() {
            if !take(&mut self.replay, &message.as_raw(), committed, &mut applied)? {
                self.state.held.push_front(message);
                break;
            }
            self.state.applied_end = self.replay.position;
        }
        self.report(committed, applied);
        Ok(())
    }

    /// Reads on, or waits for the next look-up of the group's commits.
    async fn advance(&mut self, waits: bool) -> Result<(), StandbyFault> {
        // The restores of this worker have priority.
        self.recovery.restored().await;
        if waits || self.replay.is_full() {
            self.flush().await;
        }
        let Self { queue, replay, commits, state, .. } = self;
        let Some(committed) = state.committed.filter(|_| !waits) else {
            // An error means that the worker ends, and its standbys with it.
            drop(commits.changed().await);
            state.is_at_end = false;
            return Ok(());
        };
        let mut applied = 0;
        let polled = tokio::select! {
            biased;
            polled = poll(&mut **queue, replay, (committed, &mut state.held), &mut applied) => Some(polled?),
            _ = commits.changed() => None,
        };
        if applied > 0 {
            state.applied_end = replay.position;
        }
        match polled {
            Some(Some(end)) => {
                // Offsets without records, such as those of the ends of transactions, are not read again.
                replay.position = if state.held.is_empty() { replay.position.max(end) } else { replay.position };
                state.is_at_end = true;
            }
            // Reading never suspends while records are buffered, so yield to the other tasks.
            Some(None) => tokio::task::yield_now().await,
            // While much is to be read, the store is not left too far behind either.
            None => self.flush().await,
        }
        self.report(committed, applied);
        Ok(())
    }

    /// Returns whether everything that is committed was applied.
    fn is_complete(&self, committed: CommittedTable) -> bool {
        let is_read = self.state.is_at_end || !self.state.held.is_empty();
        is_read && self.state.passed >= committed.mark.length
    }

    fn report(&self, committed: CommittedTable, applied: u64) {
        let StandbyProgress { table, partition, lag, records, was_complete } = &*self.progress;
        self.recovery.stats().applied_by_standby(applied);
        let records = records.fetch_add(applied, Ordering::Relaxed) + applied;
        lag.store(committed.mark.length.since(self.state.passed), Ordering::Relaxed);
        if self.is_complete(committed) && !was_complete.swap(true, Ordering::Relaxed) {
            tracing::info!(%table, partition, records, "the standby is complete: it has applied {records} records of the changelog");
        }
    }

    /// Passes the records read to the store, with a checkpoint.
    async fn flush(&mut self) {
        let Some(committed) = self.state.committed else { return };
        let recovery = Arc::clone(&self.recovery);
        let _turn = recovery.stores.standby_turn().await;
        let (position, batch) = (self.replay.position, self.replay.take_batch());
        self.state.passed = position;
        let is_partial = !self.is_complete(committed);
        let marked = (position, committed.version(), is_partial);
        if batch.is_empty() && self.state.marked == Some(marked) {
            return;
        }
        self.state.marked = Some(marked);
        let (entries, stats) = (batch.len() as u64, Arc::clone(self.recovery.stats()));
        let has_failed = Arc::clone(&self.state.has_failed);
        let done = Box::new(move |written: Result<(), StoreError>| match written {
            Ok(()) => stats.stored(entries),
            Err(_) => has_failed.store(true, Ordering::Relaxed),
        });
        let (store, name) = (Arc::clone(&self.store), self.name.clone());
        let mark = self.replay.mark((position, self.state.applied_end), Some(committed), is_partial);
        recovery.stores.writer().submit(Job { store, name, batch: Arc::new(batch), mark, done });
        self.report(committed, 0);
    }
}

/// Reads the available records once there are any, applies those that count, and holds the others back. Returns the end of the
/// changelog if there is none.
async fn poll(
    queue: &mut dyn PartitionQueue,
    replay: &mut Replay,
    (committed, held): (CommittedTable, &mut VecDeque<OwnedMessage>),
    applied: &mut u64,
) -> Result<Option<Offset>, StandbyFault> {
    let mut fault = None;
    let polled = poll_fn(|cx| {
        let mut each = |message: RawMessage<'_>| {
            if !held.is_empty() {
                held.push_back(message.to_owned());
                return;
            }
            match take(replay, &message, committed, applied) {
                Ok(true) => {}
                Ok(false) => held.push_back(message.to_owned()),
                Err(error) => fault = fault.take().or(Some(error)),
            }
        };
        match queue.poll_batch(cx, READ, &mut each) {
            Poll::Ready(read) => Poll::Ready(read.map(|_| None)),
            Poll::Pending => queue.end().map_or(Poll::Pending, |end| Poll::Ready(Ok(Some(end)))),
        }
    });
    let polled = polled.await;
    match fault {
        Some(fault) => Err(fault.into()),
        None => Ok(polled?),
    }
}

/// Applies a record if it counts.
fn take(
    replay: &mut Replay,
    message: &RawMessage<'_>,
    committed: CommittedTable,
    applied: &mut u64,
) -> Result<bool, Error> {
    let counts = replay.take(message, Some(committed), |_, _| {})?;
    if counts {
        replay.position = message.offset.next();
        *applied += 1;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offsets::{CommitNumber, OwnerEpoch, TableMark};

    /// Law: a standby that continues with its store compares the end of its records with the next owner's, and not its position, which
    /// may be behind the end of an aborted transaction.
    #[test]
    fn a_restarted_standby_is_not_ahead_behind_an_aborted_transaction() {
        let former = CommitVersion { epoch: OwnerEpoch(1), number: CommitNumber(7) };
        let mark = TableMark { end: Offset(60), length: Offset(80), number: CommitNumber(9) };
        let next_owner = CommittedTable { epoch: OwnerEpoch(2), mark };
        let is_ahead_at = |passed, records_end| {
            is_ahead(former, FollowerState::at(Offset(passed), Offset(records_end)).applied_end, next_owner)
        };
        assert!(!is_ahead_at(61, 59), "the end of a transaction follows");
        assert!(!is_ahead_at(61, 0), "no record counts");
        assert!(is_ahead_at(61, 61));
        // An owner writes the greatest offset if it does not know the end.
        assert!(!is_ahead_at(50, i64::MAX));
    }
}
