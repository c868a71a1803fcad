//! A partition of a task: its reader and its last commit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::log_change::FoundLog;
use super::ownership::Ownership;
use crate::config::Settings;
use crate::message::Offset;
use crate::offsets::{CommitMetadata, CommitVersion, LogId, OwnerEpoch};
use crate::stage::reader::StageReader;
use crate::transport::{Assigned, Committed};

/// A partition of a task, with its reader and its last commit. All clones share them: the worker keeps a clone, from which it
/// starts the next task after a rebalance.
#[derive(Clone, Debug)]
pub(crate) struct TaskPartition {
    pub(crate) reader: Arc<StageReader>,
    state: Arc<Mutex<PartitionState>>,
}

#[derive(Debug)]
struct PartitionState {
    /// First epoch of this member in the group's generation in which the partition was assigned.
    generation: OwnerEpoch,
    /// The committed offset, or the start of a partition without a valid one.
    start: Offset,
    committed: Option<Committed>,
    /// Log start offset and high watermark at the assignment, until the task commits.
    bounds: Option<(Offset, Offset)>,
    /// The log at the assignment, or at its last look-up.
    log: FoundLog,
    /// The highest version of a commit of this worker, even one of unknown outcome.
    used: CommitVersion,
}

impl TaskPartition {
    pub(crate) fn new(assigned: Assigned, settings: &Settings) -> Self {
        let Assigned { partition, committed, generation, nonce, bounds, topic_id, start, queue } = assigned;
        let generation = OwnerEpoch::of_generation(generation, nonce);
        let used = CommitVersion::default();
        let log = FoundLog { id: LogId::of(&topic_id), bounds };
        let state = PartitionState { generation, start, committed, bounds: Some(bounds), log, used };
        Self {
            reader: Arc::new(StageReader::new(partition, queue, start, settings.stream_buffer_maxsize)),
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Returns the first epoch of this member in the generation of the assignment.
    pub(super) fn generation(&self) -> OwnerEpoch {
        self.state().generation
    }

    /// Returns whether this worker has owned the partition since it was assigned to the task.
    pub(super) fn is_owned(&self, ownership: &Ownership) -> bool {
        ownership.owns(self.reader.partition(), self.generation())
    }

    /// Returns whether the task can continue in this assignment: this member has owned the partition in the generation just
    /// before, the commit is still its own, and the topic was not created again.
    pub(crate) fn can_continue(&self, assigned: &Assigned) -> bool {
        let generation = OwnerEpoch::of_generation(assigned.generation, assigned.nonce);
        let state = self.state();
        let (low, high) = assigned.bounds;
        let is_other = LogId::differ(state.log.id, LogId::of(&assigned.topic_id));
        let is_in_log = low <= state.start && state.start <= high && !is_other;
        state.generation.is_just_before(generation) && state.committed == assigned.committed && is_in_log
    }

    /// Continues in another assignment.
    pub(crate) fn continue_in(&self, assigned: Assigned) {
        self.state().generation = OwnerEpoch::of_generation(assigned.generation, assigned.nonce);
        self.reader.continue_with(assigned.queue, assigned.start);
    }

    /// Returns the log at the assignment, or at its last look-up.
    pub(super) fn log(&self) -> FoundLog {
        self.state().log
    }

    /// Records another look-up of the log.
    pub(super) fn found(&self, log: FoundLog) {
        self.state().log = log;
    }

    /// Ends the reading of all groups if the topic has another id than that of the log: they look it up.
    pub(crate) fn compare_log(&self, topic_id: &str) {
        if LogId::differ(self.log().id, LogId::of(topic_id)) {
            self.reader.fail_all();
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

    /// Returns the offset at which a stage starts that has finished everything before `offset`: a part of the log may have been
    /// deleted.
    pub(super) fn clamped(&self, offset: Offset) -> Offset {
        self.state().bounds.map_or(offset, |(low, _)| offset.max(low))
    }

    /// Returns whether the log is shorter than this: it was truncated or created again.
    pub(super) fn ends_before(&self, offset: Offset) -> bool {
        self.state().bounds.is_some_and(|(_, high)| offset > high)
    }

    /// Returns whether another program has made the last commit: its offset counts for all stages.
    pub(super) fn is_foreign(&self) -> bool {
        self.state().committed.as_ref().is_some_and(|committed| self.parse(committed).is_none())
    }

    fn parse(&self, committed: &Committed) -> Option<CommitMetadata> {
        CommitMetadata::from_text(&committed.metadata, &self.reader.partition().topic)
    }

    /// Returns whether messages behind the committed offset were deleted, so that it is not in the log any more.
    pub(super) fn is_behind_log(&self) -> bool {
        let state = self.state();
        let low = state.bounds.map(|(low, _)| low);
        state.committed.as_ref().is_some_and(|committed| low.is_some_and(|low| committed.offset < low))
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

#[cfg(test)]
pub(super) mod tests {
    use std::task::{Context, Poll};

    use super::*;
    use crate::error::TransportError;
    use crate::message::RawMessage;
    use crate::transport::{PartitionQueue, TopicPartition};

    /// The queue of an empty partition.
    struct Empty;

    impl crate::transport::port::Sealed for Empty {}

    impl PartitionQueue for Empty {
        fn poll_batch(
            &mut self,
            _: &mut Context<'_>,
            _: usize,
            _: &mut dyn FnMut(RawMessage<'_>),
        ) -> Poll<Result<usize, TransportError>> {
            Poll::Pending
        }

        fn seek(&mut self, _: Offset) -> Result<(), TransportError> {
            Ok(())
        }

        fn end(&self) -> Option<Offset> {
            None
        }

        fn is_held(&self) -> bool {
            false
        }
    }

    /// Returns an assignment of `in[0]` in this generation, with this committed offset, in a log from 0 to 10.
    pub(in crate::task) fn assigned(generation: u64, committed: i64, topic_id: &str) -> Assigned {
        Assigned {
            partition: TopicPartition::new("in", 0),
            committed: Some(Committed { offset: Offset(committed), metadata: String::new() }),
            generation,
            nonce: 0,
            bounds: (Offset(0), Offset(10)),
            topic_id: topic_id.to_owned(),
            start: Offset(committed),
            queue: Box::new(Empty),
        }
    }

    pub(in crate::task) fn partition(assigned: Assigned) -> TaskPartition {
        let settings = crate::config::Layers::default().resolve("shop").expect("the defaults are valid").settings;
        TaskPartition::new(assigned, &settings)
    }

    /// Law: a task survives a rebalance only without a gap, with its own commit, and in the same log (R9 of the protocol).
    #[test]
    fn a_task_continues_only_in_the_next_generation_with_its_own_commit() {
        let partition = partition(assigned(3, 5, "id"));
        for (expected, assigned) in [
            (true, assigned(4, 5, "id")),
            (true, assigned(4, 5, "")),
            (false, assigned(5, 5, "id")),
            (false, assigned(3, 5, "id")),
            (false, assigned(4, 6, "id")),
            (false, assigned(4, 5, "new")),
            (false, Assigned { bounds: (Offset(6), Offset(10)), ..assigned(4, 5, "id") }),
            (false, Assigned { bounds: (Offset(0), Offset(4)), ..assigned(4, 5, "id") }),
        ] {
            assert_eq!(partition.can_continue(&assigned), expected, "{assigned:?}");
        }
        partition.continue_in(assigned(4, 5, "id"));
        assert!(partition.can_continue(&assigned(5, 5, "id")) && !partition.can_continue(&assigned(4, 5, "id")));
    }
}
