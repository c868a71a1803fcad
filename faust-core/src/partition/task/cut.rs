//! A cut: where every stage of a task stands at one moment between events, in the form a commit takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Part, Task};
use crate::delivery::Delivery;
use crate::offsets::CutMark;
use crate::partition::generation::Generation;
use crate::plan::Stage;
use crate::time::Timestamp;
use crate::transport::{Committed, TopicPartition};

/// What to commit, and what must have arrived before.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) offsets: BTreeMap<TopicPartition, Committed>,
    pub(crate) deliveries: Vec<Arc<Delivery>>,
}

/// Where each stage stands in each of its inputs.
#[derive(Clone, Debug, Default)]
pub(super) struct Positions {
    stages: Vec<Vec<i64>>,
    stream_time: Option<Timestamp>,
    cut: u64,
}

impl Positions {
    /// From what a former owner committed: each stage at its own offset, the others at the committed one.
    pub(super) fn restore(stages: &[Stage], parts: &[Part]) -> Self {
        let marks: Vec<_> = parts.iter().map(|part| CutMark::from_text(&part.committed.as_ref()?.metadata)).collect();
        let starts = |stage: &Stage| {
            let reads = |part: &Part| stage.reads.contains(&part.feed.partition().topic);
            let inputs = parts.iter().zip(&marks).filter(|(part, _)| reads(part));
            inputs
                .map(|(part, mark)| {
                    let ahead = mark.as_ref().and_then(|mark| mark.ahead.get(&*stage.name)).copied();
                    ahead.map_or(part.start, |ahead| ahead.max(part.start))
                })
                .collect()
        };
        let known = || marks.iter().flatten();
        Self {
            stages: stages.iter().map(starts).collect(),
            stream_time: known().filter_map(CutMark::stream_time).max(),
            cut: known().map(|mark| mark.cut).max().unwrap_or(0),
        }
    }

    pub(super) fn starts(&self) -> &[Vec<i64>] {
        &self.stages
    }

    pub(super) fn stream_time(&self) -> Option<Timestamp> {
        self.stream_time
    }

    /// Moves every stage that stands before `other` up to it.
    pub(super) fn raise_to(&mut self, other: &Self) {
        for (mine, others) in self.stages.iter_mut().flatten().zip(other.stages.iter().flatten()) {
            *mine = (*mine).max(*others);
        }
        self.stream_time = self.stream_time.max(other.stream_time);
        self.cut = self.cut.max(other.cut);
    }
}

impl Task {
    /// Takes the cut; the generation goes on at once. `None` when nothing has moved.
    pub(super) fn take_cut(&mut self, generation: &Generation) -> Option<Cut> {
        let positions = self.positions(generation);
        self.cut_at(positions, generation.outputs.cut())
    }

    /// The cut of a task whose generation is over: what was finished and not committed.
    pub(super) fn standing_cut(&mut self) -> Option<Cut> {
        let positions = Positions { cut: self.committed.cut + 1, ..self.start.clone() };
        self.cut_at(positions, Vec::new())
    }

    fn cut_at(&mut self, positions: Positions, sent: Vec<Arc<Delivery>>) -> Option<Cut> {
        if positions.stages == self.committed.stages {
            return None;
        }
        let offsets = self.offsets(&positions);
        self.pending = Some(positions);
        Some(Cut { offsets, deliveries: self.carried.iter().cloned().chain(sent).collect() })
    }

    pub(super) fn positions(&self, generation: &Generation) -> Positions {
        let stages = generation.stages.iter().map(|stage| stage.cursor.next_offsets()).collect();
        Positions { stages, stream_time: generation.stream_time(), cut: self.committed.cut + 1 }
    }

    /// For each partition the lowest of its readers, and in the metadata who is ahead of it.
    fn offsets(&self, positions: &Positions) -> BTreeMap<TopicPartition, Committed> {
        let mut offsets = BTreeMap::new();
        for (index, feed) in self.feeds.iter().enumerate() {
            let readers =
                self.stages.iter().zip(&self.inputs).zip(&positions.stages).filter_map(|((stage, inputs), at)| {
                    let slot = inputs.iter().position(|&input| input == index)?;
                    at.get(slot).map(|&offset| (&stage.name, offset))
                });
            let readers: Vec<_> = readers.collect();
            let Some(lowest) = readers.iter().map(|&(_, offset)| offset).min() else { continue };
            let ahead = readers.into_iter().filter(|&(_, offset)| offset > lowest);
            let ahead = ahead.map(|(name, offset)| (name.to_string(), offset)).collect();
            let metadata = CutMark::new(positions.cut, positions.stream_time, ahead).to_text();
            offsets.insert(feed.partition().clone(), Committed { offset: lowest, metadata });
        }
        offsets
    }
}
