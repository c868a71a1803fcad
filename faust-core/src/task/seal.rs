//! Cuts of a task: sealing the tables and collecting the offsets to commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cut::Cut;
use super::partition_task::Task;
use super::positions::Positions;
use super::run::TaskRun;
use crate::error::Error;
use crate::message::Offset;
use crate::offsets::CommitMetadata;
use crate::transport::{Delivery, TopicPartition};

impl Task {
    /// Takes a cut of a run, which can continue immediately. Returns `None` if nothing has changed since the last
    /// commit.
    ///
    /// # Errors
    /// Fails if the codec of a table cannot encode a value.
    pub(super) fn take_cut(&mut self, run: &TaskRun) -> Result<Option<Cut>, Error> {
        let positions = self.positions(run);
        self.cut_at(positions, run.outbox.cut())
    }

    /// Takes the cut of a task whose run has ended. It covers the finished events that are not committed.
    ///
    /// # Errors
    /// Fails in the same cases as [`take_cut`](Self::take_cut).
    pub(super) fn standing_cut(&mut self) -> Result<Option<Cut>, Error> {
        self.cut_at(self.start.clone(), Vec::new())
    }

    fn cut_at(&mut self, positions: Positions, sent: Vec<Arc<Delivery>>) -> Result<Option<Cut>, Error> {
        if positions.stages == self.committed.stages && !self.tables.is_dirty() {
            return Ok(None);
        }
        // IMPORTANT: a number is never reused, even if its commit fails. A later commit must not make the changelog
        // records of an abandoned cut valid.
        self.cuts = self.cuts.next();
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

    /// Returns the lowest offset of each partition's stages. The metadata contains the stages that are ahead of it.
    pub(super) fn offsets(&self, positions: &Positions) -> BTreeMap<TopicPartition, (Offset, CommitMetadata)> {
        let time = positions.times.iter().copied().flatten().max();
        let times: BTreeMap<_, _> = self
            .stages
            .iter()
            .zip(&positions.times)
            .filter(|(_, own)| **own != time)
            .map(|(stage, own)| (stage.name.to_string(), *own))
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
            let mark = CommitMetadata { time, times: times.clone(), ahead, ..CommitMetadata::new(positions.cut) };
            offsets.insert(reader.partition().clone(), (lowest, mark));
        }
        offsets
    }
}
