//! A group of a task: stages that use a table in common. They take turns, and are sealed, restarted and rolled back
//! together, without regard to other groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::cut::{GroupCut, SealCut};
use super::failure::Failure;
use super::failure_history::{Decision, FailingAgent, FailureHistory};
use super::input_log::BegunLogs;
use super::partition::TaskPartition;
use super::positions::{Marks, Positions};
use super::run::GroupRun;
use super::seal::Seal;
use super::seal_writer::{SealWriter, TransactionSlot};
use super::tables::{SealedTable, TaskTables};
use crate::config::{FailurePolicy, Settings};
use crate::error::Error;
use crate::offsets::{CommitNumber, LogId, NameHash, TableMark};
use crate::plan::PlannedStage;
use crate::stage::gate::Hold;
use crate::stage::input::GroupInput;
use crate::stage::outbox::Outbox;
use crate::transport::Delivery;

/// A group of a task.
pub(super) struct StageGroup {
    pub(super) stages: Vec<PlannedStage>,
    /// Inputs of each stage.
    pub(super) inputs: Vec<Vec<GroupInput>>,
    pub(super) tables: Arc<TaskTables>,
    /// Positions of the last commit.
    confirmed: Positions,
    /// The last commit has positions before these, whose messages were deleted: the next seal counts also if nothing was read.
    is_moved: bool,
    /// Number of the last commit that contains changes of the group; before the first, that of the restore.
    number: CommitNumber,
    /// The seal in the commit in progress, or in an earlier one that has not waited for its messages.
    pending: Option<SentSeal>,
    /// The newest seal, if no commit contains it.
    ready: Option<Seal>,
    /// The seals after it, if they contain an event of which a message was refused: they are committed apart, so that the
    /// outputs of the events before do not repeat again.
    apart: Option<Seal>,
    pub(super) failures: FailureHistory,
    /// A run has failed before.
    pub(super) has_failed: bool,
    pub(super) activity: Activity,
}

/// A seal whose changes are being sent.
struct SentSeal {
    seal: Seal,
    /// Number of the first commit that contained it, which its records carry.
    number: CommitNumber,
    tables: Vec<SealedTable>,
    deliveries: Vec<Arc<Delivery>>,
}

/// The activity of a group.
pub(super) enum Activity {
    Running(GroupRun),
    /// It waits for the next attempt.
    Pausing(Instant),
    /// A position is not in its log any more: the log is looked up.
    Relocating,
    /// Its last run has ended.
    Ended {
        /// No agent was dropped inside an event because it did not return by the deadline of a drain.
        in_time: bool,
    },
}

impl StageGroup {
    /// Creates a group whose first run starts at these positions. `is_moved` states that the last commit has others, because
    /// messages were deleted.
    pub(super) fn new(
        stages: Vec<PlannedStage>,
        inputs: Vec<Vec<GroupInput>>,
        confirmed: Positions,
        is_moved: bool,
    ) -> Self {
        Self {
            stages,
            inputs,
            tables: Arc::default(),
            confirmed,
            is_moved,
            number: CommitNumber::default(),
            pending: None,
            ready: None,
            apart: None,
            failures: FailureHistory::default(),
            has_failed: false,
            activity: Activity::Ended { in_time: true },
        }
    }

    /// Sets the restored tables, and the highest number in use.
    pub(super) fn restored(&mut self, tables: &TaskTables, number: CommitNumber) {
        let names: BTreeSet<_> = self.stages.iter().flat_map(|stage| &stage.tables).collect();
        self.tables = Arc::new(tables.named(names));
        self.number = number;
    }

    pub(super) fn run(&self) -> Option<&GroupRun> {
        if let Activity::Running(run) = &self.activity { Some(run) } else { None }
    }

    pub(super) fn run_mut(&mut self) -> Option<&mut GroupRun> {
        if let Activity::Running(run) = &mut self.activity { Some(run) } else { None }
    }

    /// Returns the positions of the newest seal, at which the next run starts.
    pub(super) fn sealed_positions(&self) -> &Positions {
        let pending = self.pending.as_ref().map(|sent| &sent.seal);
        self.apart.as_ref().or(self.ready.as_ref()).or(pending).map_or(&self.confirmed, |seal| &seal.positions)
    }

    /// Returns whether a position belongs to another log than its partition was last found to have.
    pub(super) fn is_in_other_log(&self, parts: &[TaskPartition]) -> bool {
        let logs = self.sealed_positions().logs.iter().flatten();
        self.inputs.iter().flatten().zip(logs).any(|(input, log)| {
            let part = parts.iter().find(|part| Arc::ptr_eq(&part.reader, &input.reader));
            part.is_some_and(|part| LogId::differ(log.id(), part.log().id))
        })
    }

    /// Notes the logs from which the group has read.
    pub(super) fn note_logs(&self, begun: &BegunLogs) {
        let positions = self.sealed_positions();
        let logs = positions.logs.iter().flatten().zip(positions.stages.iter().flatten());
        logs.for_each(|(log, next)| begun.note(log, *next));
    }

    /// Returns whether a seal of the group was sent and is not committed.
    pub(super) fn is_committing(&self) -> bool {
        self.pending.is_some()
    }

    /// Holds or releases the streams of a group with tables.
    pub(super) fn hold(&self, hold: Hold, holds: bool) {
        if let Some(run) = self.run().filter(|_| !self.tables.is_empty()) {
            run.hold(hold, holds);
        }
    }

    /// Seals what the group has finished, unless a stage is inside an event. Returns whether that is so.
    ///
    /// # Errors
    /// Fails if the codec of a table cannot encode a value.
    pub(super) fn seal(&mut self) -> Result<bool, Error> {
        let Some(run) = self.run() else { return Ok(true) };
        if !run.is_at_rest() {
            return Ok(false);
        }
        let (positions, outbox) = (run.positions(), Arc::clone(&run.outbox));
        self.seal_at(positions, &outbox)?;
        if let Some(run) = self.run_mut() {
            run.sealed();
        }
        Ok(true)
    }

    /// Seals the finished events of a stage that has ended in the middle of an event, if it has no tables, and no staged messages:
    /// some of them may be those of the event.
    fn seal_finished(&mut self) -> Result<(), Error> {
        let Some(run) = self.run().filter(|_| self.tables.is_empty()) else { return Ok(()) };
        if run.outbox.staging.as_ref().is_some_and(|staging| !staging.is_empty()) {
            return Ok(());
        }
        let (positions, outbox) = (run.positions(), Arc::clone(&run.outbox));
        self.seal_at(positions, &outbox)
    }

    fn seal_at(&mut self, positions: Positions, outbox: &Outbox) -> Result<(), Error> {
        let sent = outbox.cut();
        let has_staged = outbox.staging.as_ref().is_some_and(|staging| !staging.is_empty());
        if !self.is_new(&positions) && !has_staged {
            return Ok(());
        }
        let changes = self.tables.seal()?;
        // After the tables, whose seal may fail.
        let outputs = outbox.staging.as_ref().and_then(|staging| staging.take());
        self.add(Seal::new(positions, sent, changes, outputs));
        Ok(())
    }

    /// Seals positions behind messages that were deleted.
    pub(super) fn seal_moved(&mut self, positions: Positions) -> Result<(), Error> {
        if self.is_new(&positions) {
            let changes = self.tables.seal()?;
            self.add(Seal::new(positions, Vec::new(), changes, None));
        }
        Ok(())
    }

    /// Returns whether a seal at these positions contains anything beyond the newest one.
    fn is_new(&mut self, positions: &Positions) -> bool {
        let is_moved = std::mem::take(&mut self.is_moved);
        let sealed = self.sealed_positions();
        let is_same = positions.stages == sealed.stages && positions.logs == sealed.logs;
        is_moved || !is_same || self.tables.is_dirty()
    }

    /// Adds a seal behind those that no commit contains.
    fn add(&mut self, seal: Seal) {
        if let Some(earlier) = self.apart.take() {
            self.apart = Some(earlier.followed_by(seal));
            return;
        }
        match self.ready.take() {
            Some(earlier) if self.failures.has_refused_between(&earlier.positions, &seal.positions) => {
                (self.ready, self.apart) = (Some(earlier), Some(seal));
            }
            Some(earlier) => self.ready = Some(earlier.followed_by(seal)),
            None => self.ready = Some(seal),
        }
    }

    /// Returns the failure of a seal. Many events may be its cause: from now on, each write is encoded, so that the one that is
    /// the cause fails itself.
    pub(super) fn failed_seal(&mut self, error: Error) -> Failure {
        let until = self.run().map_or_else(|| self.sealed_positions().clone(), GroupRun::positions);
        let is_first = self.failures.check_writes_until(until);
        self.tables.check_writes(true);
        Failure::commit(&self.stages, error, is_first)
    }

    /// Decides what follows a failure.
    pub(super) fn decide(&mut self, failure: &Failure, settings: &Settings) -> Decision {
        let policy = match failure.stage.and_then(|stage| self.stages.get(stage)) {
            Some(stage) => stage.on_failure.unwrap_or(settings.agent_failure),
            None => self.policy(settings),
        };
        self.failures.note(failure, policy, settings, Instant::now())
    }

    /// Returns the policy for failures that concern all of the group.
    fn policy(&self, settings: &Settings) -> FailurePolicy {
        let mut policies = self.stages.iter().map(|stage| stage.on_failure.unwrap_or(settings.agent_failure));
        if policies.any(|policy| policy == FailurePolicy::Stop) { FailurePolicy::Stop } else { FailurePolicy::Retry }
    }

    /// Returns the agents that fail again and again.
    pub(super) fn failing(&self, settings: &Settings) -> Vec<FailingAgent> {
        self.failures.failing((self.sealed_positions(), &self.confirmed), settings, Instant::now())
    }

    /// Ends the run. The changes of unfinished events are rolled back.
    pub(super) fn end(&mut self, next: Activity) {
        // The streams end first: the tables are not changed after the rollback.
        self.activity = next;
        self.tables.roll_back_open();
    }

    /// Ends the run at a drain. With `finished`, all agents have finished their events. A group without tables keeps all
    /// finished events in any case.
    ///
    /// # Errors
    /// Fails if the codec of a table cannot encode a value. The events since the last seal will be processed again.
    pub(super) fn end_drained(&mut self, finished: bool, in_time: bool) -> Result<(), Error> {
        let sealed = if finished { self.seal() } else { self.seal_finished().map(|()| false) };
        self.activity = Activity::Ended { in_time };
        // After a seal there is usually nothing to roll back. To index the windows of a large table again would take long.
        if !matches!(sealed, Ok(true)) || self.tables.is_dirty() {
            self.tables.roll_back_open();
        }
        sealed.map(drop)
    }

    /// Returns the marks of the last commit.
    pub(super) fn confirmed(&self) -> Marks {
        self.confirmed.marks(&self.stages, &self.inputs)
    }

    /// Returns whether there is a seal for the next commit.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.is_some() || self.pending.is_some()
    }

    /// Returns the newest seal, if the next commit sends it: one that is late comes first.
    fn next_seal(&self) -> Option<&Seal> {
        self.ready.as_ref().filter(|_| self.pending.is_none())
    }

    /// Returns the marks of the next commit, as far as it sends them.
    pub(super) fn next_marks(&self) -> Marks {
        let positions = self.next_seal().map_or(&self.confirmed, |seal| &seal.positions);
        positions.marks(&self.stages, &self.inputs)
    }

    /// Returns the marks of the tables in the next commit, which has this number.
    pub(super) fn next_table_marks(&self, number: CommitNumber) -> BTreeMap<NameHash, TableMark> {
        let number = if self.next_seal().is_some() { number } else { self.number };
        self.tables.marks(|_| number)
    }

    /// Returns the number of tables whose changes the next commit sends.
    pub(super) fn changed_tables(&self) -> usize {
        self.next_seal().map_or(0, Seal::tables)
    }

    /// Takes the newest seal for a commit with this number, and starts sending its changes, with `slot` once a transaction is open. A
    /// seal that is late takes part again, under its own number. `metadata` are those of the commit.
    pub(super) fn cut(
        &mut self,
        writer: Option<&SealWriter>,
        number: CommitNumber,
        metadata: Option<&Bytes>,
        slot: Option<&TransactionSlot>,
    ) -> GroupCut {
        if self.pending.is_none()
            && let Some(seal) = self.ready.take()
        {
            let (tables, deliveries) = seal.send(writer, number, metadata, slot);
            self.pending = Some(SentSeal { seal, number, tables, deliveries });
        }
        let seal = self.pending.as_ref().map(|sent| SealCut {
            marks: sent.seal.positions.marks(&self.stages, &self.inputs),
            number: sent.number,
            tables: sent.tables.clone(),
            deliveries: sent.deliveries.clone(),
        });
        GroupCut { confirmed: self.confirmed(), number: self.number, tables: Arc::clone(&self.tables), seal }
    }

    /// Ends the commit in progress. An unconfirmed seal is committed together with the next one.
    pub(super) fn resolve(&mut self, is_confirmed: bool) {
        let Some(SentSeal { seal, number, .. }) = self.pending.take() else { return };
        if is_confirmed {
            // The commit itself has already updated the tables.
            (self.confirmed, self.number) = (seal.positions, number);
            self.ready = self.ready.take().or_else(|| self.apart.take());
            self.failures.committed(&self.confirmed);
            let notes_senders = self.failures.notes_senders();
            self.run().into_iter().for_each(|run| run.note_senders(notes_senders));
            self.tables.check_writes(self.failures.checks_writes());
            return;
        }
        let next = self.ready.replace(seal.unconfirmed());
        next.into_iter().for_each(|next| self.add(next));
    }

    /// Goes back to the last commit, because a message of a seal was not delivered. If the event that sent it is unknown, the
    /// next runs note the events of all messages.
    pub(super) fn undelivered(&mut self, is_sender_known: bool) {
        if !is_sender_known {
            let until = self.pending.as_ref().map(|sent| sent.seal.positions.clone());
            until.into_iter().for_each(|until| self.failures.note_senders_until(until));
        }
        (self.pending, self.ready, self.apart) = (None, None, None);
        self.end(Activity::Pausing(Instant::now()));
        self.tables.roll_back_sealed();
    }
}
