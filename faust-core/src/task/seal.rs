//! A cut: where every stage of a task stands at one moment between events, in the form a commit takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cut::Cut;
use super::partition_task::Task;
use super::positions::Positions;
use super::run::TaskRun;
use crate::error::Error;
use crate::offsets::CommitMetadata;
use crate::time::Timestamp;
use crate::transport::{Delivery, TopicPartition};

impl Task {
    /// Takes the cut; the run goes on at once. `None` when nothing has moved.
    ///
    /// # Errors
    /// A table holds a value that its codec refuses.
    pub(super) fn take_cut(&mut self, run: &TaskRun) -> Result<Option<Cut>, Error> {
        let positions = self.positions(run);
        self.cut_at(positions, run.outbox.cut())
    }

    /// The cut of a task whose run is over: what was finished and not committed.
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

    pub(super) fn positions(&self, run: &TaskRun) -> Positions {
        let stages = run.stages.iter().map(|stage| stage.cursor.progress.next_offsets()).collect();
        let times = run.stages.iter().map(|stage| stage.cursor.clock.stream_time()).collect();
        Positions { stages, times, cut: self.cuts }
    }

    /// For each partition the lowest of its readers, and in the metadata who is ahead of it.
    pub(super) fn offsets(&self, positions: &Positions) -> BTreeMap<TopicPartition, (i64, CommitMetadata)> {
        let time = positions.times.iter().copied().flatten().max();
        let times: BTreeMap<_, _> = self
            .stages
            .iter()
            .zip(&positions.times)
            .filter(|(_, own)| **own != time)
            .map(|(stage, own)| (stage.name.to_string(), own.map(Timestamp::as_millis)))
            .collect();
        let mut offsets = BTreeMap::new();
        for (index, reader) in self.readers.iter().enumerate() {
            let readers =
                self.stages.iter().zip(&self.inputs).zip(&positions.stages).filter_map(|((stage, inputs), at)| {
                    let slot = inputs.iter().position(|&input| input == index)?;
                    at.get(slot).map(|&offset| (&stage.name, offset))
                });
            let readers: Vec<_> = readers.collect();
            let Some(lowest) = readers.iter().map(|&(_, offset)| offset).min() else { continue };
            let ahead = readers.into_iter().filter(|&(_, offset)| offset > lowest);
            let ahead = ahead.map(|(name, offset)| (name.to_string(), offset)).collect();
            let mark = CommitMetadata {
                time: time.map(Timestamp::as_millis),
                times: times.clone(),
                ahead,
                ..CommitMetadata::new(positions.cut)
            };
            offsets.insert(reader.partition().clone(), (lowest, mark));
        }
        offsets
    }
}
