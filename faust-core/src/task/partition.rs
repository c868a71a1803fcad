//! A partition of a task: its reader and its last commit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Settings;
use crate::message::Offset;
use crate::offsets::{CommitMetadata, CommitVersion, OwnerEpoch};
use crate::stage::reader::StageReader;
use crate::transport::{Assigned, Committed};

/// A partition of a task, with its reader and its last commit. All clones share them: the worker keeps a clone, from which it
/// starts the next task after a rebalance.
#[derive(Clone, Debug)]
pub(crate) struct TaskPartition {
    pub(crate) reader: Arc<StageReader>,
    /// First epoch of this member in the group's generation in which the partition was assigned.
    pub(crate) generation: OwnerEpoch,
    state: Arc<Mutex<PartitionState>>,
}

#[derive(Debug)]
struct PartitionState {
    /// The committed offset, or the start of a partition without a valid one.
    start: Offset,
    committed: Option<Committed>,
    /// Log start offset and high watermark at the assignment, until the task commits.
    bounds: Option<(Offset, Offset)>,
    /// The highest version of a commit of this worker, even one of unknown outcome.
    used: CommitVersion,
}

impl TaskPartition {
    pub(crate) fn new(assigned: Assigned, settings: &Settings) -> Self {
        let Assigned { partition, committed, generation, nonce, bounds, start, queue } = assigned;
        let state = PartitionState { start, committed, bounds: Some(bounds), used: CommitVersion::default() };
        Self {
            reader: Arc::new(StageReader::new(partition, queue, start, settings.stream_buffer_maxsize)),
            generation: OwnerEpoch::of_generation(generation, nonce),
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Returns the committed offset, or the start of a partition without a valid one.
    pub(crate) fn start(&self) -> Offset {
        self.state().start
    }

    /// Returns the metadata of the last commit; `None` if it was not written by this app.
    pub(crate) fn mark(&self) -> Option<CommitMetadata> {
        self.parse(self.state().committed.as_ref()?)
    }

    /// Returns the offset at which a stage starts that has finished everything before `offset`. A log that is shorter was
    /// created again or truncated, and a part of it may have been deleted.
    ///
    /// The offset of a topic that other programs have committed since is theirs.
    pub(super) fn clamped(&self, offset: Offset) -> Offset {
        let state = self.state();
        let is_foreign = state.committed.as_ref().is_some_and(|committed| self.parse(committed).is_none());
        match state.bounds {
            _ if is_foreign => state.start,
            Some((_, high)) if offset > high => {
                tracing::warn!(partition = %self.reader.partition(), "the log ends at {high}, before the committed position {offset}: it was truncated or created again, and is read from offset {}", state.start);
                state.start
            }
            Some((low, _)) => offset.max(low),
            None => offset,
        }
    }

    fn parse(&self, committed: &Committed) -> Option<CommitMetadata> {
        CommitMetadata::from_text(&committed.metadata, &self.reader.partition().topic)
    }

    /// Returns the committed offset known to this worker.
    pub(crate) fn committed(&self) -> Option<Offset> {
        self.state().committed.as_ref().map(|committed| committed.offset)
    }

    /// Returns the highest version that a commit of this worker has used, even one of unknown outcome.
    pub(super) fn used(&self) -> CommitVersion {
        self.state().used
    }

    /// Records that a commit uses a version.
    pub(super) fn begin_commit(&self, version: CommitVersion) {
        let mut state = self.state();
        state.used = state.used.max(version);
    }

    /// Records a successful commit of this partition.
    pub(crate) fn commit(&self, committed: Committed) {
        let mut state = self.state();
        state.start = committed.offset;
        state.committed = Some(committed);
    }

    /// Records a successful commit of the task. From then on, its positions are in the log, whatever its bounds were.
    pub(crate) fn advance(&self) {
        self.state().bounds = None;
    }

    fn state(&self) -> MutexGuard<'_, PartitionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
