//! A partition of a task: its reader and its last commit.

use std::sync::{Arc, OnceLock};

use crate::config::Settings;
use crate::message::Offset;
use crate::offsets::{CommitMetadata, OwnerEpoch};
use crate::stage::reader::StageReader;
use crate::transport::{Assigned, Committed};

/// A partition of a task, with its reader and its last commit.
#[derive(Clone, Debug)]
pub(crate) struct TaskPartition {
    pub(crate) reader: Arc<StageReader>,
    pub(crate) start: Offset,
    /// First epoch of the group's generation in which the partition was assigned.
    pub(crate) generation: OwnerEpoch,
    committed: Option<Committed>,
    /// The first commit, made by the first task of the partition before it ran. Shared by all clones.
    marked: Arc<OnceLock<Committed>>,
}

impl TaskPartition {
    pub(crate) fn new(assigned: Assigned, settings: &Settings) -> Self {
        let Assigned { partition, committed, generation, start, queue } = assigned;
        Self {
            reader: Arc::new(StageReader::new(partition, queue, start, settings.stream_buffer_maxsize)),
            start,
            generation: OwnerEpoch::of_generation(generation),
            committed,
            marked: Arc::default(),
        }
    }

    /// Returns the metadata of the last commit; `None` if it was not written by this app.
    pub(crate) fn mark(&self) -> Option<CommitMetadata> {
        self.parse(self.committed()?)
    }

    /// Returns the offset at which a stage starts that has finished everything before `offset`: not before the start of the
    /// queue, if the log does not have the committed offset any more.
    ///
    /// The offset of a topic that other programs have committed since is theirs.
    pub(super) fn at_or_behind_start(&self, offset: Offset) -> Offset {
        match self.committed() {
            Some(committed) if self.parse(committed).is_none() => self.start,
            Some(committed) if committed.offset == self.start => offset,
            _ => offset.max(self.start),
        }
    }

    fn parse(&self, committed: &Committed) -> Option<CommitMetadata> {
        CommitMetadata::from_text(&committed.metadata, &self.reader.partition().topic)
    }

    /// Returns the last commit known to this worker.
    pub(crate) fn committed(&self) -> Option<&Committed> {
        let is_ours = |committed: &&Committed| self.parse(committed).is_some();
        self.committed.as_ref().filter(is_ours).or(self.marked.get()).or(self.committed.as_ref())
    }

    /// Records the first commit of the partition, in all clones.
    pub(crate) fn marked(&self, committed: Committed) {
        // A partition that already has a first commit keeps it.
        drop(self.marked.set(committed));
    }

    /// Records a successful commit.
    pub(crate) fn commit(&mut self, committed: Committed) {
        self.start = committed.offset;
        self.committed = Some(committed);
    }
}
