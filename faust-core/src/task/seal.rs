//! Cuts of a task: sealing the tables and collecting the offsets to commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cut::Cut;
use super::partition_task::Task;
use super::positions::Positions;
use super::run::TaskRun;
use crate::error::Error;
use crate::message::Offset;
use crate::offsets::{CommitMetadata, CommitVersion, NameHash, StageMark};
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
        let version = CommitVersion { epoch: self.epoch, number: self.cuts };
        self.parts.iter().for_each(|part| part.begin_commit(version));
        let positions = Positions { cut: self.cuts, ..positions };
        let sealed = match &self.changelog {
            Some(changelog) => self.tables.seal(changelog, |_| self.cuts)?,
            None => Vec::new(),
        };
        let (offsets, metadata) = (self.offsets(&positions), self.metadata(&positions));
        self.pending = Some(positions);
        let records = sealed.iter().map(|table| Arc::clone(&table.delivery));
        let deliveries = self.carried.iter().cloned().chain(sent).chain(records).collect();
        let (tables, changelog) = (Arc::clone(&self.tables), self.changelog.clone());
        Ok(Some(Cut { offsets, metadata, deliveries, sealed, tables, _changelog: changelog }))
    }

    pub(super) fn positions(&self, run: &TaskRun) -> Positions {
        let stages = run.stages.iter().map(|stage| stage.cursor.progress.next_offsets()).collect();
        let times = run.stages.iter().map(|stage| stage.cursor.clock.stream_time()).collect();
        Positions { stages, times, cut: self.cuts }
    }

    /// Returns the offsets to commit, the lowest of each partition's stages.
    pub(super) fn offsets(&self, positions: &Positions) -> BTreeMap<TopicPartition, Offset> {
        let mut offsets = BTreeMap::new();
        for (inputs, at) in self.inputs.iter().zip(&positions.stages) {
            for (reader, offset) in inputs.iter().filter_map(|input| self.readers.get(*input)).zip(at) {
                let lowest = offsets.entry(reader.partition().clone()).or_insert(*offset);
                *lowest = (*offset).min(*lowest);
            }
        }
        offsets
    }

    /// Returns the metadata of a commit at these positions, except those of the tables.
    pub(super) fn metadata(&self, positions: &Positions) -> CommitMetadata {
        let mut stages = BTreeMap::new();
        for (((stage, inputs), at), time) in
            self.stages.iter().zip(&self.inputs).zip(&positions.stages).zip(&positions.times)
        {
            let readers = inputs.iter().filter_map(|input| self.readers.get(*input));
            let offsets = readers.zip(at).map(|(reader, at)| (NameHash::of(&reader.partition().topic), *at)).collect();
            stages.insert(NameHash::of(&stage.name), StageMark { time: *time, offsets });
        }
        CommitMetadata {
            version: CommitVersion { epoch: self.epoch, number: positions.cut },
            plan: self.cx.plan_fingerprint,
            time: positions.times.iter().copied().flatten().max(),
            stages,
            tables: BTreeMap::new(),
        }
    }
}
