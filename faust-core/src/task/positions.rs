//! Positions of the stages of a task.

use super::partition::TaskPartition;
use crate::message::Offset;
use crate::offsets::CommitNumber;
use crate::plan::PlannedStage;
use crate::time::Timestamp;

/// Next offset of each stage in each of its inputs, with the stages' stream times and the number of the cut.
#[derive(Clone, Debug, Default)]
pub(super) struct Positions {
    pub(super) stages: Vec<Vec<Offset>>,
    /// Stream time of each stage.
    pub(super) times: Vec<Option<Timestamp>>,
    pub(super) cut: CommitNumber,
}

impl Positions {
    /// Restores positions from the last commits: a stage that is ahead of a committed offset starts at its own offset,
    /// the others at the committed one.
    pub(super) fn restore(stages: &[PlannedStage], parts: &[TaskPartition]) -> Self {
        let marks: Vec<_> = parts.iter().map(TaskPartition::mark).collect();
        let starts = |stage: &PlannedStage| {
            let reads = |part: &TaskPartition| stage.reads.contains(&part.reader.partition().topic);
            let inputs = parts.iter().zip(&marks).filter(|(part, _)| reads(part));
            inputs
                .map(|(part, mark)| {
                    let ahead = mark.as_ref().and_then(|mark| mark.ahead.get(&*stage.name)).copied();
                    ahead.map_or(part.start, |ahead| ahead.max(part.start))
                })
                .collect()
        };
        let known = || marks.iter().flatten();
        let time = |stage: &PlannedStage| known().filter_map(|mark| mark.stage_time(&stage.name)).max();
        Self {
            stages: stages.iter().map(starts).collect(),
            times: stages.iter().map(time).collect(),
            cut: known().map(|mark| mark.cut).max().unwrap_or_default(),
        }
    }

    pub(super) fn starts(&self) -> &[Vec<Offset>] {
        &self.stages
    }

    pub(super) fn times(&self) -> &[Option<Timestamp>] {
        &self.times
    }

    /// Returns the number of the cut.
    pub(super) fn cut(&self) -> CommitNumber {
        self.cut
    }

    /// Advances every stage that is behind `other` to its position there.
    pub(super) fn raise_to(&mut self, other: &Self) {
        for (mine, others) in self.stages.iter_mut().flatten().zip(other.stages.iter().flatten()) {
            *mine = (*mine).max(*others);
        }
        for (mine, others) in self.times.iter_mut().zip(&other.times) {
            *mine = (*mine).max(*others);
        }
        self.cut = self.cut.max(other.cut);
    }
}
