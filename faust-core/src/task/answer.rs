//! The part of a task in a commit: it answers with a cut, and learns the result.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::changelog::metadata_header;
use super::cut::{Cut, Resolution};
use super::failure::Failure;
use super::group::{Activity, StageGroup};
use super::partition_task::Task;
use super::positions::Marks;
use super::seal_writer::transaction_slot;
use crate::offsets::{CommitMetadata, CommitVersion};
use crate::stage::gate::Hold;

impl Task {
    /// Answers with the cut of a commit. It contains what the groups have finished, except those that are inside an event:
    /// they take part with the last seal before it. A commit never waits for an agent.
    pub(super) fn answer(&mut self, reply: oneshot::Sender<Option<Cut>>) {
        // IMPORTANT: before the next cut. The commit before has ended or was abandoned, but the task may not have noticed yet.
        match self.resolution.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Ok(resolution)) => self.resolve(resolution),
            Some(Err(oneshot::error::TryRecvError::Closed)) => self.resolve(Resolution::abandoned()),
            Some(Err(oneshot::error::TryRecvError::Empty)) | None => {}
        }
        if self.drain.is_some() || self.resolution.is_some() {
            // The last cut covers it, or the next one.
            drop(reply.send(None));
            return;
        }
        self.tables.trim();
        self.release_outputs();
        for index in 0..self.groups.len() {
            let Some(group) = self.groups.get_mut(index) else { continue };
            if group.is_committing() {
                // A seal is late. Another one would have to be merged with the next ones at each commit, and would end the count of
                // changes at which the streams wait.
                continue;
            }
            match group.seal() {
                Ok(true) => {}
                Ok(false) if !group.is_ready() => self.cx.stats.seal_missed(),
                Ok(false) => {}
                Err(error) => {
                    let failure = group.failed_seal(error);
                    self.fail(index, failure);
                }
            }
        }
        self.groups.iter().for_each(|group| group.note_logs(&self.cx.begun_logs));
        self.schedule_seal();
        // If the worker has given up waiting, the cut is dropped, and is resolved by that.
        drop(reply.send(self.cut()));
        self.set_choked(!self.tables.is_empty() && !self.cx.recovery.stores.writer().has_room());
    }

    /// Takes a cut. Returns `None` if no group has finished anything since the last commit.
    pub(super) fn cut(&mut self) -> Option<Cut> {
        if !self.groups.iter().any(StageGroup::is_ready) {
            return None;
        }
        // IMPORTANT: a number is never reused, even if its commit fails. A later commit must not make the changelog
        // records of an abandoned cut valid.
        self.cuts = self.cuts.next();
        let version = CommitVersion { epoch: self.epoch, number: self.cuts };
        self.parts.iter().for_each(|part| part.begin_commit(version));
        let writer = self.writer.as_deref();
        let metadata = writer.filter(|_| !self.tables.is_empty()).map(|_| self.next_metadata(version));
        let (transaction, slot) = self.cx.outputs.as_ref().map(|_| transaction_slot()).unzip();
        let (resolved, resolution) = oneshot::channel();
        self.resolution = Some(resolution);
        let groups = self.groups.iter_mut();
        let groups = groups.map(|group| group.cut(writer, self.cuts, metadata.as_ref(), slot.as_ref())).collect();
        Some(Cut {
            version,
            plan: self.cx.plan_fingerprint,
            owners: self.parts.iter().map(|part| (part.reader.partition().clone(), part.generation())).collect(),
            groups,
            undelivered: std::collections::BTreeMap::new(),
            late: std::collections::BTreeSet::new(),
            reply: resolved,
            transaction,
            _writer: self.writer.clone(),
        })
    }

    /// Returns the metadata of the next commit, for the changelogs.
    fn next_metadata(&self, version: CommitVersion) -> Bytes {
        let mut marks = Marks::default();
        self.groups.iter().for_each(|group| marks.join(&group.next_marks()));
        let tables = self.groups.iter().flat_map(|group| group.next_table_marks(version.number)).collect();
        let metadata = CommitMetadata { tables, ..marks.metadata(version, self.cx.plan_fingerprint) };
        metadata_header(self.groups.iter().map(StageGroup::changed_tables).sum(), &metadata)
    }

    pub(super) fn resolve(&mut self, mut resolution: Resolution) {
        self.resolution = None;
        self.release_outputs();
        if resolution.late.is_empty() {
            self.set_pressed(false);
        }
        for index in 0..self.groups.len() {
            let Some(group) = self.groups.get_mut(index) else { continue };
            if resolution.late.contains(&index) {
                continue;
            }
            let Some(undelivered) = resolution.undelivered.remove(&index) else {
                group.resolve(resolution.is_confirmed);
                continue;
            };
            let failure = Failure::undelivered(&group.stages, &group.inputs, undelivered);
            let is_over = matches!(group.activity, Activity::Ended { .. });
            group.undelivered(!failure.events.is_empty());
            if self.drain.is_some() || is_over {
                group.activity = Activity::Ended { in_time: true };
            } else {
                self.retry(index, failure);
            }
        }
    }

    /// Lets the streams go on that wait for memory for their messages, if a commit has freed it.
    fn release_outputs(&self) {
        let Some(outputs) = &self.cx.outputs else { return };
        for run in self.groups.iter().filter_map(StageGroup::run).filter(|run| run.is_held(Hold::Outputs)) {
            if outputs.is_exhausted() {
                outputs.note_held();
            } else {
                run.hold(Hold::Outputs, false);
            }
        }
    }
}
