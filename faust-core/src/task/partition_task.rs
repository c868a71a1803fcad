//! The task of one partition: runs its stages, takes cuts, and restarts from the last commit if an agent fails.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::changelog::ChangelogWriter;
use super::command::{Command, Drained, Resolution};
use super::context::TaskCx;
use super::cut::Cut;
use super::failure::{Attempts, Failure};
use super::handle::TaskHandle;
use super::partition::TaskPartition;
use super::positions::Positions;
use super::recovery::{Preparation, Restoring};
use super::run::{Returned, RunEvent, Start, TaskRun};
use super::stores::StoreLease;
use super::tables::TaskTables;
use crate::error::{Error, TransportError, panic_text};
use crate::offsets::{CommitNumber, OwnerEpoch};
use crate::plan::PlannedStage;
use crate::stage::outbox::Outbox;
use crate::stage::reader::StageReader;
use crate::stage::running::RunningStage;
use crate::time::Horizon;
use crate::transport::Delivery;

/// Maximum difference of the clocks of two workers at which a committed stream time is kept.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// The task of one partition of one set of topics.
pub(crate) struct Task {
    pub(super) cx: Arc<TaskCx>,
    pub(super) stages: Vec<PlannedStage>,
    pub(super) readers: Vec<Arc<StageReader>>,
    /// Inputs of each stage, as indexes into `readers`.
    pub(super) inputs: Vec<Vec<usize>>,
    /// Positions of the last commit.
    pub(super) committed: Positions,
    /// Positions at which the next run starts: those of the last commit, or later ones if an agent returned early.
    pub(super) start: Positions,
    /// Messages sent before `start`, which must be acknowledged before `start` is committed.
    pub(super) carried: Vec<Arc<Delivery>>,
    /// Positions that the commit in progress covers.
    pub(super) pending: Option<Positions>,
    /// Number of the last cut, or the highest number found in a commit or a changelog.
    pub(super) cuts: CommitNumber,
    /// Epoch of this ownership.
    pub(super) epoch: OwnerEpoch,
    /// Partitions with their last commits.
    pub(super) parts: Vec<TaskPartition>,
    /// Preparation of the tables, until they are restored.
    pub(super) preparation: Option<Preparation>,
    /// Guard: the worker is not ready while it is held.
    pub(super) restoring: Option<Restoring>,
    pub(super) tables: Arc<TaskTables>,
    /// The leases of the tables' stores: no other task of this worker uses them.
    pub(super) leases: Vec<StoreLease>,
    /// Writer of sealed changes, for a task with tables.
    pub(super) changelog: Option<Arc<ChangelogWriter>>,
    /// `true` after a run was rolled back, until the next run starts.
    fallen: bool,
    attempts: Attempts,
    live: Arc<Mutex<Vec<Arc<RunningStage>>>>,
}

/// Interval at which a task counts the changes of its tables while a commit is in progress.
const PRESSURE_LOOK: Duration = Duration::from_secs(1);
/// Number of changed keys of one table at which the task's streams wait for the commit in progress.
const PRESSURE: usize = 1_000_000;

/// The reason that a run has ended.
enum RunEnd {
    Failed(Failure),
    /// The run was drained and its last cut sent, or the worker has ended.
    Done,
}

impl Task {
    /// Starts a task for the partitions of one number of a set of topics. With a preparation, it restores its tables
    /// first.
    pub(crate) fn spawn(
        cx: Arc<TaskCx>,
        stages: Vec<PlannedStage>,
        parts: Vec<TaskPartition>,
        preparation: Option<Preparation>,
    ) -> TaskHandle {
        let commits: Vec<_> = parts.iter().filter_map(TaskPartition::mark).collect();
        let horizon = Horizon::new(cx.clock.clone(), cx.settings.stream_time_max_ahead + CLOCK_DIFFERENCE);
        let committed = Positions::restore(&stages, &parts, &commits, &horizon);
        let used = parts.iter().map(TaskPartition::used);
        let found = commits.iter().map(|commit| commit.version).chain(used);
        let found = found.map(|version| version.epoch).max().unwrap_or_default();
        let readers: Vec<_> = parts.iter().map(|part| Arc::clone(&part.reader)).collect();
        let inputs = stages.iter().map(|stage| inputs_of(stage, &readers)).collect();
        let live = Arc::default();
        let restoring = preparation.is_some().then(|| cx.recovery.begin_restore());
        let (commands, receiver) = mpsc::unbounded_channel();
        let task = Self {
            cx,
            stages,
            readers,
            inputs,
            start: committed.clone(),
            cuts: committed.cut(),
            epoch: found.above(generation(&parts)),
            committed,
            carried: Vec::new(),
            pending: None,
            parts: parts.clone(),
            restoring,
            preparation,
            tables: Arc::default(),
            leases: Vec::new(),
            changelog: None,
            fallen: false,
            attempts: Attempts::default(),
            live: Arc::clone(&live),
        };
        TaskHandle { commands, join: tokio::spawn(task.supervised(receiver)), parts, live }
    }

    /// Runs the task. A panic outside an agent, such as that of a value's encoding at a seal, ends the worker: the partition
    /// must not be silent.
    async fn supervised(self, commands: mpsc::UnboundedReceiver<Command>) {
        let place =
            self.readers.first().map_or_else(String::new, |reader| format!("the task of {}", reader.partition()));
        let failed = self.cx.failed.clone();
        if let Err(panic) = AssertUnwindSafe(self.run(commands)).catch_unwind().await {
            // An error means that the worker has ended already.
            drop(failed.send(Error::Panicked { place, message: panic_text(&*panic) }));
        }
    }

    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        if !self.restore(&mut commands).await {
            return;
        }
        loop {
            let over = match self.start() {
                Ok(mut run) => self.drive(&mut run, &mut commands).await,
                Err(error) => RunEnd::Failed(Failure::start(&self.stages, error)),
            };
            self.set_live(Vec::new());
            let RunEnd::Failed(failure) = over else { return };
            self.cx.stats.agent_failed();
            if !failure.keeps_what_is_done() {
                self.fall_back();
            }
            match self.attempts.next(&failure, &self.cx.settings) {
                Some(pause) => {
                    tracing::error!(agent = %failure.agent, place = %failure.place, "{}; trying again in {pause:?}", failure.what());
                    if !self.pause(Instant::now() + pause, &mut commands).await {
                        return;
                    }
                }
                None => {
                    let error = self.attempts.error(failure);
                    // The worker stops and drains this task like the others. There is nothing more to commit.
                    drop(self.cx.failed.send(error));
                    self.pause_until_drained(&mut commands).await;
                    return;
                }
            }
        }
    }

    fn start(&mut self) -> Result<TaskRun, Error> {
        self.fallen = false;
        let cx = &self.cx;
        let (sink, stats, timestamps) = (Arc::clone(&cx.sink), Arc::clone(&cx.stats), Arc::clone(&cx.timestamps));
        let outbox = Outbox::new(sink, stats, cx.dead_letter.clone(), timestamps);
        let run = TaskRun::start(Start {
            stages: &self.stages,
            inputs: &self.inputs,
            starts: self.start.starts(),
            readers: &self.readers,
            outbox,
            settings: &self.cx.settings,
            stream_times: self.start.times(),
            tables: &self.tables,
            clock: &self.cx.clock,
        })?;
        self.set_live(run.stages.clone());
        Ok(run)
    }

    /// Drives a run until it ends, and handles commands meanwhile.
    async fn drive(&mut self, run: &mut TaskRun, commands: &mut mpsc::UnboundedReceiver<Command>) -> RunEnd {
        // The requested cut: its reply channel, and the deadline for the stages to come to rest.
        let mut cutting: Option<(oneshot::Sender<Option<Cut>>, Instant)> = None;
        let recovery = Arc::clone(&self.cx.recovery);
        // The stores' backlog is above its limit: reading stops until they have caught up.
        let mut choked = false;
        // A commit has been in progress for too long, and the tables hold too many changes since it began.
        let mut pressed = false;
        loop {
            let deadline = cutting.as_ref().map(|(_, deadline)| *deadline);
            tokio::select! {
                // IMPORTANT: commands first, because the stages may use up Tokio's cooperative budget of the task.
                biased;
                // The worker requests a cut or a drain, or reports the result of a commit.
                command = commands.recv() => match command {
                    None => return RunEnd::Done,
                    Some(Command::Cut(reply)) => {
                        self.tables.trim();
                        run.hold();
                        cutting = Some((reply, Instant::now() + self.cx.settings.commit_cut_timeout));
                    }
                    Some(Command::Resolved(resolution)) => {
                        if let Some(error) = self.resolve(resolution) {
                            return RunEnd::Failed(Failure::undelivered(&self.stages, error));
                        }
                        if std::mem::take(&mut pressed) && cutting.is_none() && !choked {
                            run.release();
                        }
                    }
                    Some(Command::Drain(deadline, reply)) => {
                        // A commit that waits for a cut of this task continues without it. The last cut covers it.
                        drop(cutting.take());
                        drop(reply.send(self.drained(run, deadline, commands).await));
                        return RunEnd::Done;
                    }
                },
                // An agent has not finished its event: the task skips this commit, because a cut within an event is not
                // possible.
                () = at(deadline) => {
                    if let Some((reply, _)) = cutting.take() {
                        self.skip_commit(run, reply);
                    }
                    choked = false;
                    run.release();
                }
                // The next count of changes since the commit in progress began is due.
                () = tokio::time::sleep(PRESSURE_LOOK), if self.pending.is_some() && !pressed => {
                    pressed = self.tables.dirty() >= PRESSURE;
                    if pressed {
                        tracing::warn!("a commit is taking long, and a table has {PRESSURE} changes since it began: streams wait for it");
                        run.hold();
                    }
                }
                // The stores have caught up.
                () = recovery.stores.writer().room(), if choked => {
                    choked = false;
                    if cutting.is_none() && !pressed {
                        run.release();
                    }
                }
                // The stages are polled inside this arm.
                news = run.news(cutting.is_some()) => match news {
                    RunEvent::AtRest => {
                        if let Some((reply, _)) = cutting.take() {
                            match self.take_cut(run) {
                                Ok(cut) => self.answer(reply, cut),
                                Err(error) => return RunEnd::Failed(Failure::commit(&self.stages, error)),
                            }
                        }
                        choked = !self.tables.is_empty() && !recovery.stores.writer().has_room();
                        if !choked {
                            run.release();
                        }
                    }
                    RunEvent::Faulted(index, error) => return RunEnd::Failed(self.fault(run, index, error)),
                    RunEvent::Returned(index, returned) => return RunEnd::Failed(self.returned(run, index, returned)),
                },
            }
        }
    }

    /// Answers that this task takes no part in a commit.
    fn skip_commit(&self, run: &TaskRun, reply: oneshot::Sender<Option<Cut>>) {
        self.cx.stats.cut_missed();
        tracing::warn!(place = %busy_place(run), "commit skipped: the agent did not finish its event within `commit_cut_timeout`");
        // The commit may have been abandoned meanwhile.
        drop(reply.send(None));
    }

    /// Drains the stages, waits for the commit in progress, and takes the last cut.
    async fn drained(
        &mut self,
        run: &mut TaskRun,
        deadline: Instant,
        commands: &mut mpsc::UnboundedReceiver<Command>,
    ) -> Drained {
        let in_order = self.drain(run, deadline).await;
        let cut = if self.settle(commands).await { self.last_cut(run, in_order) } else { None };
        Drained { cut, in_order: in_order.is_some() }
    }

    /// Sends a cut to the worker. If the commit was abandoned meanwhile, the cut is unconfirmed, because no resolution
    /// follows.
    fn answer(&mut self, reply: oneshot::Sender<Option<Cut>>, cut: Option<Cut>) {
        if reply.send(cut).is_err() {
            let pending = self.pending.take();
            self.unconfirmed(pending);
        }
    }

    /// Handles a stage that returned while its stream was open.
    fn returned(&mut self, run: &TaskRun, index: usize, returned: Returned) -> Failure {
        let Some(stage) = run.stages.get(index) else {
            return Failure::start(&self.stages, Error::Misuse("a stage is missing".to_owned()));
        };
        if let Returned::Result(Ok(())) = returned {
            let is_done = !stage.is_closing();
            stage.cursor.returned(false);
            // The stage finished its event, so the next run starts right after it. With tables, that is only possible
            // if all stages are at rest: writes of another agent in an unfinished event must be rolled back.
            if self.tables.is_empty() || (is_done && run.is_at_rest()) {
                self.start = self.positions(run);
                self.carried.extend(run.outbox.cut());
            } else {
                self.fall_back();
            }
        }
        Failure::returned(stage, returned)
    }

    fn fault(&self, run: &TaskRun, index: usize, error: Error) -> Failure {
        match run.stages.get(index) {
            Some(stage) => Failure::fault(stage, error),
            None => Failure::start(&self.stages, error),
        }
    }

    /// Ends the streams and waits for the stages to return. Returns whether all of them finished their events; `None`
    /// if the deadline passed first.
    async fn drain(&self, run: &mut TaskRun, deadline: Instant) -> Option<bool> {
        let mut finished = true;
        // Stages with a failed stream. Their streams stay pending, so they do not return.
        let mut faulted = std::collections::BTreeSet::new();
        run.drain();
        while run.running() > faulted.len() {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(deadline) => {
                    tracing::warn!(place = %busy_place(run), "an agent did not return in time and is dropped; its event will be read again");
                    return None;
                }
                news = run.news(false) => match news {
                    RunEvent::Returned(index, Returned::Result(Ok(()))) => {
                        faulted.remove(&index);
                        if let Some(stage) = run.stages.get(index) {
                            // Windows whose close hooks have not all run, and late events not yet passed to their
                            // hook, are unfinished.
                            finished &= !stage.is_closing();
                            stage.cursor.returned(stage.cursor.gate.has_ended());
                        }
                    }
                    RunEvent::Returned(index, returned) => {
                        faulted.remove(&index);
                        if let Some(stage) = run.stages.get(index) {
                            let failure = Failure::returned(stage, returned);
                            tracing::error!(agent = %failure.agent, place = %failure.place, "{} while it was drained; the event will be read again", failure.what());
                        }
                        finished = false;
                    }
                    RunEvent::Faulted(index, error) => {
                        tracing::error!("{error}");
                        faulted.insert(index);
                        finished = false;
                    }
                    RunEvent::AtRest => {}
                },
            }
        }
        Some(finished)
    }

    /// Waits for the resolution of the commit in progress. Returns `false` if its events must be processed again, or if
    /// the worker has ended.
    async fn settle(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> bool {
        while self.pending.is_some() {
            match commands.recv().await {
                None => return false,
                Some(Command::Resolved(resolution)) => {
                    if self.resolve(resolution).is_some() {
                        return false;
                    }
                }
                // The task is already draining and takes no part in the next commit.
                Some(Command::Cut(_) | Command::Drain(..)) => {}
            }
        }
        true
    }

    /// Takes the cut of a drained run. An unfinished event may have written to tables: then there is no cut, and the
    /// events since the last commit are processed again.
    fn last_cut(&mut self, run: &TaskRun, in_order: Option<bool>) -> Option<Cut> {
        if in_order != Some(true) && !self.tables.is_empty() {
            return None;
        }
        self.take_cut(run).unwrap_or_else(|error| {
            tracing::error!("{error}; the events since the last commit will be processed again");
            None
        })
    }

    /// Rolls back to the last commit: the next run starts at its positions, with the tables of that time.
    fn fall_back(&mut self) {
        self.start = self.committed.clone();
        self.carried.clear();
        // Sealed changes are rolled back only once their commit is known to have failed.
        self.tables.roll_back_open();
        self.fallen = true;
    }

    fn resolve(&mut self, resolution: Resolution) -> Option<TransportError> {
        let pending = self.pending.take();
        match (resolution, pending) {
            (Resolution::Committed, Some(pending)) => {
                // The commit itself has already updated the tables.
                self.committed = pending;
                // A run never starts before the committed positions, in whichever order the two were advanced.
                self.start.raise_to(&self.committed);
                self.carried.retain(|delivery| !delivery.is_fulfilled());
            }
            (Resolution::Undelivered(error), _) => {
                self.fall_back();
                self.tables.roll_back_sealed();
                return Some(error);
            }
            (_, pending) => self.unconfirmed(pending),
        }
        None
    }

    /// Handles a commit that was abandoned or that the broker did not accept.
    fn unconfirmed(&self, pending: Option<Positions>) {
        if pending.is_none() {
            return;
        }
        if self.fallen {
            // The next attempt starts before the sealed changes.
            self.tables.roll_back_sealed();
        } else {
            self.tables.unseal();
        }
    }

    /// Waits between two attempts, and handles commands meanwhile. Returns `false` if the task must end.
    async fn pause(&mut self, until: Instant, commands: &mut mpsc::UnboundedReceiver<Command>) -> bool {
        loop {
            // The start of the next attempt depends on the commit in progress, so wait for its resolution.
            let deadline = self.pending.is_none().then_some(until);
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    None => return false,
                    Some(Command::Cut(reply)) => {
                        let cut = self.standing_cut().unwrap_or_else(|error| {
                            tracing::error!("{error}");
                            None
                        });
                        self.answer(reply, cut);
                    }
                    Some(Command::Resolved(resolution)) => drop(self.resolve(resolution)),
                    Some(Command::Drain(_, reply)) => {
                        // After the resolution, successful or not, `start` is correct.
                        self.settle(commands).await;
                        let cut = self.standing_cut().unwrap_or_default();
                        drop(reply.send(Drained { cut, in_order: true }));
                        return false;
                    }
                },
                () = at(deadline) => return true,
            }
        }
    }

    pub(super) async fn pause_until_drained(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) {
        // Ends with a drain, or with the worker.
        while self.pause(Instant::now() + std::time::Duration::from_secs(3600), commands).await {}
    }

    fn set_live(&self, stages: Vec<Arc<RunningStage>>) {
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = stages;
    }
}

/// Returns the first epoch of the generation in which the last of the partitions was assigned.
pub(super) fn generation(parts: &[TaskPartition]) -> OwnerEpoch {
    parts.iter().map(|part| part.generation).max().unwrap_or_default()
}

fn inputs_of(stage: &PlannedStage, readers: &[Arc<StageReader>]) -> Vec<usize> {
    let reads = |reader: &&Arc<StageReader>| stage.reads.contains(&reader.partition().topic);
    readers.iter().enumerate().filter(|(_, reader)| reads(reader)).map(|(index, _)| index).collect()
}

/// Describes the position of a stage that is processing an event, for log lines.
fn busy_place(run: &TaskRun) -> String {
    let busy = run.stages.iter().find(|stage| !stage.cursor.gate.at_rest());
    busy.map_or_else(|| "between events".to_owned(), |stage| format!("agent `{}` at {}", stage.agent, stage.place()))
}

/// Waits until the deadline. Never resolves without one.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
