//! Positions of the stages of a task.

use super::partition::TaskPartition;
use crate::message::Offset;
use crate::offsets::{CommitMetadata, CommitNumber, NameHash};
use crate::plan::PlannedStage;
use crate::time::{Horizon, Timestamp};

/// Next offset of each stage in each of its inputs, with the stages' stream times and the number of the cut.
#[derive(Clone, Debug, Default)]
pub(super) struct Positions {
    pub(super) stages: Vec<Vec<Offset>>,
    /// Stream time of each stage.
    pub(super) times: Vec<Option<Timestamp>>,
    pub(super) cut: CommitNumber,
}

impl Positions {
    /// Restores positions from the last commits of a task's topics. The latest commit that contains a stage counts for all
    /// topics, also where a topic's own commit is another one. A stage that no commit contains starts at the committed
    /// offset. A stream time beyond the horizon is discarded: it was committed by a worker whose clock was ahead, whose
    /// release did not limit it, or whose limit was greater, and would make all events late.
    pub(super) fn restore(
        stages: &[PlannedStage],
        parts: &[TaskPartition],
        commits: &[CommitMetadata],
        horizon: &Horizon,
    ) -> Self {
        let latest = |stage: NameHash, topic: NameHash| {
            let of_stage = commits.iter().filter_map(|commit| Some((commit.version, commit.offset(stage, topic)?)));
            of_stage.max_by_key(|(version, _)| *version).map(|(_, offset)| offset)
        };
        let starts = |stage: &PlannedStage| {
            let reads = |part: &&TaskPartition| stage.reads.contains(&part.reader.partition().topic);
            let start = |part: &TaskPartition| {
                let topic = NameHash::of(&part.reader.partition().topic);
                latest(NameHash::of(&stage.name), topic).map_or_else(|| part.start(), |offset| part.clamped(offset))
            };
            parts.iter().filter(reads).map(start).collect()
        };
        let time = |planned: &PlannedStage| {
            let stage = NameHash::of(&planned.name);
            let of_stage = commits.iter().filter(|commit| commit.stages.contains_key(&stage));
            let latest = of_stage.max_by_key(|commit| commit.version).or(CommitMetadata::latest(commits));
            latest.and_then(|commit| commit.stage_time(stage)).filter(|time| {
                let is_within = horizon.reaches(*time);
                if !is_within {
                    tracing::warn!(
                        stage = %planned.name,
                        partition = parts.first().map(|part| part.reader.partition().partition),
                        "the committed stream time {time} is further ahead of the clock than `stream_time_max_ahead`: it \
                         is discarded, and stream time restarts with the next event"
                    );
                }
                is_within
            })
        };
        Self {
            stages: stages.iter().map(starts).collect(),
            times: stages.iter().map(time).collect(),
            cut: commits.iter().map(|commit| commit.version.number).max().unwrap_or_default(),
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
