//! Positions of the stages of a group.

use std::collections::BTreeMap;

use super::partition::TaskPartition;
use crate::message::Offset;
use crate::offsets::{CommitMetadata, CommitVersion, NameHash, Position, StageMark};
use crate::plan::PlannedStage;
use crate::stage::input::GroupInput;
use crate::time::{Horizon, Timestamp};
use crate::transport::TopicPartition;

/// Next offset of each stage in each of its inputs, with the stages' stream times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Positions {
    pub(super) stages: Vec<Vec<Offset>>,
    /// Stream time of each stage.
    pub(super) times: Vec<Option<Timestamp>>,
}

/// Positions of stages in the form of a commit.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    /// The offset to commit of each partition, the lowest of its stages.
    pub(super) offsets: BTreeMap<TopicPartition, Offset>,
    pub(super) stages: BTreeMap<NameHash, StageMark>,
}

impl Marks {
    /// Adds the positions of another group.
    pub(super) fn join(&mut self, other: &Self) {
        for (partition, offset) in &other.offsets {
            self.add(partition, *offset);
        }
        self.stages.extend(other.stages.iter().map(|(stage, mark)| (*stage, mark.clone())));
    }

    fn add(&mut self, partition: &TopicPartition, offset: Offset) {
        let lowest = self.offsets.entry(partition.clone()).or_insert(offset);
        *lowest = offset.min(*lowest);
    }

    /// Returns the metadata of a commit at these positions, except those of the tables.
    pub(super) fn metadata(&self, version: CommitVersion, plan: u32) -> CommitMetadata {
        let time = self.stages.values().filter_map(|stage| stage.time).max();
        CommitMetadata { version, plan, time, stages: self.stages.clone(), tables: BTreeMap::new() }
    }
}

impl Positions {
    /// Returns whether the stage with this index has not passed the event.
    pub(super) fn is_before(&self, (stage, at): (usize, Position)) -> bool {
        let next = self.stages.get(stage).and_then(|inputs| inputs.get(at.input as usize));
        next.is_none_or(|next| at.offset >= *next)
    }

    /// Returns whether every stage is here as far as there, or further.
    pub(super) fn has_reached(&self, there: &Self) -> bool {
        let here = self.stages.iter().flatten();
        here.zip(there.stages.iter().flatten()).all(|(here, there)| here >= there)
    }
    /// Returns the marks of these stages.
    pub(super) fn marks(&self, stages: &[PlannedStage], inputs: &[Vec<GroupInput>]) -> Marks {
        let mut marks = Marks::default();
        for (((stage, inputs), at), time) in stages.iter().zip(inputs).zip(&self.stages).zip(&self.times) {
            let mut offsets = BTreeMap::new();
            for (input, at) in inputs.iter().zip(at) {
                let partition = input.reader.partition();
                offsets.insert(NameHash::of(&partition.topic), *at);
                marks.add(partition, *at);
            }
            marks.stages.insert(NameHash::of(&stage.name), StageMark { time: *time, offsets });
        }
        marks
    }

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
        Self { stages: stages.iter().map(starts).collect(), times: stages.iter().map(time).collect() }
    }
}
