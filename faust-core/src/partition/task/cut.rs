//! A cut: where every stage of a task stands at one moment between events, in the form a commit takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Part, Task};
use crate::changelog::ChangelogWriter;
use crate::transport::Delivery;
use crate::error::Error;
use crate::offsets::CutMark;
use crate::partition::generation::Generation;
use crate::partition::tables::{SealedTable, TaskTables};
use crate::plan::Stage;
use crate::time::Timestamp;
use crate::transport::{Committed, TopicPartition};

/// What to commit, and what must have arrived before.
#[derive(Debug)]
pub(crate) struct Cut {
    offsets: BTreeMap<TopicPartition, (i64, CutMark)>,
    pub(crate) deliveries: Vec<Arc<Delivery>>,
    sealed: Vec<SealedTable>,
    tables: Arc<TaskTables>,
    /// Goes on sending what was sealed, should the task end before.
    _changelog: Option<Arc<ChangelogWriter>>,
}

impl Cut {
    /// What a commit has to carry, once everything has arrived.
    ///
    /// # Errors
    /// A changelog is not what it was.
    pub(crate) fn to_commit(&self) -> Result<BTreeMap<TopicPartition, Committed>, Error> {
        self.sealed.iter().try_for_each(SealedTable::arrived)?;
        let logs = self.tables.logs();
        let committed = |(partition, (offset, mark)): (&TopicPartition, &(i64, CutMark))| {
            let metadata = CutMark { logs: logs.clone(), ..mark.clone() }.to_text();
            (partition.clone(), Committed { offset: *offset, metadata })
        };
        Ok(self.offsets.iter().map(committed).collect())
    }

    /// The broker has it: the stores may have what was sealed.
    pub(crate) fn committed(self) {
        self.sealed.into_iter().for_each(SealedTable::committed);
    }
}

/// Where each stage stands in each of its inputs.
#[derive(Clone, Debug, Default)]
pub(super) struct Positions {
    stages: Vec<Vec<i64>>,
    /// The stream time of each stage.
    times: Vec<Option<Timestamp>>,
    cut: u64,
}

impl Positions {
    /// From what a former owner committed: each stage at its own offset, the others at the committed one.
    pub(super) fn restore(stages: &[Stage], parts: &[Part]) -> Self {
        let marks: Vec<_> = parts.iter().map(Part::mark).collect();
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
        let time = |stage: &Stage| known().filter_map(|mark| mark.stage_time(&stage.name)).max();
        Self {
            stages: stages.iter().map(starts).collect(),
            times: stages.iter().map(time).collect(),
            cut: known().map(|mark| mark.cut).max().unwrap_or(0),
        }
    }

    pub(super) fn starts(&self) -> &[Vec<i64>] {
        &self.stages
    }

    pub(super) fn times(&self) -> &[Option<Timestamp>] {
        &self.times
    }

    /// The number of the cut.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }

    /// Moves every stage that stands before `other` up to it.
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

impl Task {
    /// Takes the cut; the generation goes on at once. `None` when nothing has moved.
    ///
    /// # Errors
    /// A table holds a value that its codec refuses.
    pub(super) fn take_cut(&mut self, generation: &Generation) -> Result<Option<Cut>, Error> {
        let positions = self.positions(generation);
        self.cut_at(positions, generation.outputs.cut())
    }

    /// The cut of a task whose generation is over: what was finished and not committed.
    ///
    /// # Errors
    /// As [`take_cut`](Self::take_cut).
    pub(super) fn standing_cut(&mut self) -> Result<Option<Cut>, Error> {
        self.cut_at(self.start.clone(), Vec::new())
    }

    fn cut_at(&mut self, positions: Positions, sent: Vec<Arc<Delivery>>) -> Result<Option<Cut>, Error> {
        if positions.stages == self.committed.stages && !self.tables.is_dirty() {
            return Ok(None);
        }
        // Never used twice, though the commit of one may fail: what lies in a changelog under a number that was given up
        // must not become true by a later commit.
        self.cuts += 1;
        let positions = Positions { cut: self.cuts, ..positions };
        let sealed = match &self.changelog {
            Some(changelog) => self.tables.seal(self.cuts, changelog)?,
            None => Vec::new(),
        };
        let offsets = self.offsets(&positions);
        self.pending = Some(positions);
        let records = sealed.iter().map(|table| Arc::clone(&table.delivery));
        let deliveries = self.carried.iter().cloned().chain(sent).chain(records).collect();
        let (tables, changelog) = (Arc::clone(&self.tables), self.changelog.clone());
        Ok(Some(Cut { offsets, deliveries, sealed, tables, _changelog: changelog }))
    }

    pub(super) fn positions(&self, generation: &Generation) -> Positions {
        let stages = generation.stages.iter().map(|stage| stage.cursor.next_offsets()).collect();
        let times = generation.stages.iter().map(|stage| stage.cursor.stream_time()).collect();
        Positions { stages, times, cut: self.cuts }
    }

    /// For each partition the lowest of its readers, and in the metadata who is ahead of it.
    pub(super) fn offsets(&self, positions: &Positions) -> BTreeMap<TopicPartition, (i64, CutMark)> {
        let time = positions.times.iter().copied().flatten().max();
        let times: BTreeMap<_, _> = self
            .stages
            .iter()
            .zip(&positions.times)
            .filter(|(_, own)| **own != time)
            .map(|(stage, own)| (stage.name.to_string(), own.map(Timestamp::as_millis)))
            .collect();
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
            let mark = CutMark {
                time: time.map(Timestamp::as_millis),
                times: times.clone(),
                ahead,
                ..CutMark::new(positions.cut)
            };
            offsets.insert(feed.partition().clone(), (lowest, mark));
        }
        offsets
    }
}
