//! One partition of a task: its reader, and its last commit.

use std::sync::{Arc, OnceLock};

use crate::config::Settings;
use crate::offsets::CommitMetadata;
use crate::stage::reader::StageReader;
use crate::transport::{Assigned, Committed};

/// One partition of a task: where it is read, and what was last committed for it.
#[derive(Clone, Debug)]
pub(crate) struct TaskPartition {
    pub(crate) reader: Arc<StageReader>,
    pub(crate) start: i64,
    committed: Option<Committed>,
    /// What its first task committed before it began.
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

    /// What the last commit says beside the offset, if it was one of ours.
    pub(crate) fn mark(&self) -> Option<CommitMetadata> {
        CommitMetadata::from_text(&self.committed()?.metadata)
    }

    /// The last commit, as far as this worker knows.
    pub(crate) fn committed(&self) -> Option<&Committed> {
        let is_ours = |committed: &&Committed| CommitMetadata::from_text(&committed.metadata).is_some();
        self.committed.as_ref().filter(is_ours).or(self.marked.get()).or(self.committed.as_ref())
    }

    /// The first task of this partition has committed where it begins. All its copies hear of it.
    pub(crate) fn marked(&self, committed: Committed) {
        // There is one first commit.
        drop(self.marked.set(committed));
    }

    /// A commit has gone through.
    pub(crate) fn commit(&mut self, committed: Committed) {
        self.start = committed.offset;
        self.committed = Some(committed);
    }
}
