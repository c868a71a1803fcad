//! A partition of a task: its reader and its last commit.

use std::sync::{Arc, OnceLock};

use crate::config::Settings;
use crate::message::Offset;
use crate::offsets::CommitMetadata;
use crate::stage::reader::StageReader;
use crate::transport::{Assigned, Committed};

/// A partition of a task, with its reader and its last commit.
#[derive(Clone, Debug)]
pub(crate) struct TaskPartition {
    pub(crate) reader: Arc<StageReader>,
    pub(crate) start: Offset,
    committed: Option<Committed>,
    /// The first commit, made by the first task of the partition before it ran. Shared by all clones.
    marked: Arc<OnceLock<Committed>>,
}

impl TaskPartition {
    pub(crate) fn new(assigned: Assigned, settings: &Settings) -> Self {
        let Assigned { partition, committed, start, queue } = assigned;
        Self {
            reader: Arc::new(StageReader::new(partition, queue, start, settings.stream_buffer_maxsize)),
            start,
            committed,
            marked: Arc::default(),
        }
    }

    /// Returns the metadata of the last commit; `None` if it was not written by this app.
    pub(crate) fn mark(&self) -> Option<CommitMetadata> {
        CommitMetadata::from_text(&self.committed()?.metadata)
    }

    /// Returns the last commit known to this worker.
    pub(crate) fn committed(&self) -> Option<&Committed> {
        let is_ours = |committed: &&Committed| CommitMetadata::from_text(&committed.metadata).is_some();
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
