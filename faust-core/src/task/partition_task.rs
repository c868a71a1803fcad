//! The task of one partition: runs its groups, takes their seals, and restarts a group whose agent fails.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::command::{Command, Drained};
use super::context::TaskCx;
use super::cut::Resolution;
use super::failure::{Failure, Returned};
use super::failure_history::Decision;
use super::group::{Activity, StageGroup};
use super::handle::{LiveStages, TaskHandle};
use super::leases::StoreLease;
use super::lifo_slot::LifoSlot;
use super::log_change::{FoundLogs, ResetPolicies};
use super::partition::TaskPartition;
use super::positions::{Marks, Positions};
use super::recovery::{Preparation, Restoring};
use super::run::{GroupRun, RunEvent, Start};
use super::seal_writer::SealWriter;
use super::tables::TaskTables;
use crate::error::{Error, TransportError, panic_text};
use crate::offsets::{CommitMetadata, CommitNumber, CommitVersion, OwnerEpoch};
use crate::plan::{PlannedStage, stage_groups};
use crate::stage::gate::{Hold, StageFault};
use crate::stage::input::GroupInput;
use crate::stage::outbox::Outbox;
use crate::stage::staging::Staging;
use crate::time::Horizon;

/// Maximum difference of the clocks of two workers at which a committed stream time is kept.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// The task of one partition of one set of topics.
pub(crate) struct Task {
    pub(super) cx: Arc<TaskCx>,
    pub(super) groups: Vec<StageGroup>,
    /// Number of the last cut, or the highest number found in a commit or a changelog.
    pub(super) cuts: CommitNumber,
    /// Epoch of this ownership.
    pub(super) epoch: OwnerEpoch,
    /// Partitions with their last commits.
    pub(super) parts: Vec<TaskPartition>,
    /// Preparation of the tables, until they are restored.
    pub(super) preparation: Option<Preparation>,
    /// The reason why the task cannot start, until it is reported.
    fault: Option<Error>,
    /// Guard: the worker is not ready while it is held.
    pub(super) restoring: Option<Restoring>,
    pub(super) tables: Arc<TaskTables>,
    /// The leases of the tables' stores: no other task of this worker uses them.
    pub(super) leases: Vec<StoreLease>,
    /// Writer of the seals, for a task with tables, and under exactly-once.
    pub(super) writer: Option<Arc<SealWriter>>,
    /// Time at which groups that are inside an event have to seal what they have finished, as soon as it ends.
    seal_due: Option<Instant>,
    /// The result of the commit of the last cut.
    pub(super) resolution: Option<oneshot::Receiver<Resolution>>,
    /// The stores' backlog is above its limit: reading stops until they have caught up.
    is_choked: bool,
    /// A commit has been in progress for too long, and the tables hold too many changes since it began.
    is_pressed: bool,
    /// A group has failed since its last commit.
    is_failing: bool,
    /// The slot of the thread that polls this task, which is vacated before an agent may block the thread.
    lifo_slot: LifoSlot,
    pub(super) drain: Option<Drain>,
    /// Look-ups of the logs of groups whose positions are not in them any more.
    pub(super) relocations: FuturesUnordered<Relocation>,
    /// Index of the group to poll first, so that none starves.
    turn: usize,
    live: Arc<Mutex<LiveStages>>,
}

/// A look-up of the logs of a group's partitions: the index of the group, and the result.
type Relocation = BoxFuture<'static, (usize, Result<FoundLogs, TransportError>)>;

/// A drain in progress.
pub(super) struct Drain {
    /// Time at which agents that have not returned are dropped.
    pub(super) deadline: Instant,
    /// Receives the last cut; taken once it is sent.
    pub(super) reply: Option<oneshot::Sender<Drained>>,
}

/// Interval at which a task counts the changes of its tables while a commit is in progress.
const PRESSURE_LOOK: Duration = Duration::from_secs(1);
/// Number of changed keys of one table at which the task's streams wait for the commit in progress.
const PRESSURE: usize = 1_000_000;

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
        cx.compare_plans(&commits);
        let horizon = Horizon::new(cx.clock.clone(), cx.settings.stream_time_max_ahead + CLOCK_DIFFERENCE);
        let policies = ResetPolicies::new(&stages, cx.settings.consumer_auto_offset_reset);
        let (groups, fault) = match groups(stages, &parts, &commits, (&horizon, &policies)) {
            Ok(groups) => (groups, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let used = parts.iter().map(TaskPartition::used);
        let found = commits.iter().map(|commit| commit.version).chain(used);
        let found = found.map(|version| version.epoch).max().unwrap_or_default();
        let live = Arc::default();
        let restoring = preparation.is_some().then(|| cx.recovery.begin_restore());
        let (commands, receiver) = mpsc::unbounded_channel();
        let task = Self {
            cx,
            groups,
            cuts: commits.iter().map(|commit| commit.version.number).max().unwrap_or_default(),
            epoch: found.above(generation(&parts)),
            parts: parts.clone(),
            fault,
            restoring,
            preparation,
            tables: Arc::default(),
            leases: Vec::new(),
            writer: None,
            seal_due: None,
            resolution: None,
            is_choked: false,
            is_pressed: false,
            is_failing: false,
            lifo_slot: LifoSlot::of_runtime(),
            drain: None,
            relocations: FuturesUnordered::new(),
            turn: 0,
            live: Arc::clone(&live),
        };
        TaskHandle { commands, join: tokio::spawn(task.supervised(receiver)), parts, live }
    }

    /// Runs the task. A panic outside an agent, such as that of a value's encoding at a seal, ends the worker: the partition
    /// must not be silent.
    async fn supervised(self, commands: mpsc::UnboundedReceiver<Command>) {
        let place =
            self.parts.first().map_or_else(String::new, |part| format!("the task of {}", part.reader.partition()));
        let failed = self.cx.failed.clone();
        if let Err(panic) = AssertUnwindSafe(self.run(commands)).catch_unwind().await {
            // An error means that the worker has ended already.
            drop(failed.send(Error::Panicked { place, message: panic_text(&*panic) }));
        }
    }

    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        if let Some(error) = self.fault.take() {
            // An error means that the worker has ended already.
            drop(self.cx.failed.send(error));
            // Ends with a drain, or with the worker. IMPORTANT: without a takeover, which would commit positions.
            return self.drive(&mut commands).await;
        }
        if !self.restore(&mut commands).await {
            return;
        }
        if self.cx.outputs.is_some() && self.writer.is_none() {
            let (cx, in_flight) = (&self.cx, Arc::clone(&self.cx.recovery.in_flight));
            self.writer = Some(SealWriter::spawn(Arc::clone(&cx.sink), Arc::clone(&cx.stats), in_flight, self.epoch));
        }
        loop {
            (0..self.groups.len()).for_each(|index| self.start(index));
            self.schedule_seal();
            self.drive(&mut commands).await;
            *self.live() = LiveStages::default();
            if !self.is_resumed(&mut commands).await {
                return;
            }
        }
    }

    /// Drives the groups and handles commands, until the task is drained or the worker has ended.
    pub(super) async fn drive(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) {
        let recovery = Arc::clone(&self.cx.recovery);
        let mut pressure_due = Instant::now() + PRESSURE_LOOK;
        while !self.is_drained() {
            if self.is_failing {
                self.publish_live();
                self.is_failing = self.groups.iter().any(|group| group.failures.is_pending());
            }
            tokio::select! {
                // IMPORTANT: commands first, because the stages may use up Tokio's cooperative budget of the task.
                biased;
                // The worker requests a cut or a drain.
                command = commands.recv() => match command {
                    None => return,
                    Some(Command::Cut(reply)) => self.answer(reply),
                    Some(Command::Drain(deadline, reply)) => self.begin_drain(deadline, reply),
                    // Only a drained task is resumed.
                    Some(Command::Resume) => {}
                },
                // A group's next attempt, a seal, or the deadline of a drain is due.
                () = at(self.next_time()) => self.look_at_time(),
                // The next count of changes since the commit in progress began is due.
                () = tokio::time::sleep_until(pressure_due), if self.is_committing() && !self.is_pressed => {
                    pressure_due = Instant::now() + PRESSURE_LOOK;
                    if self.tables.dirty() >= PRESSURE {
                        tracing::warn!("a commit is taking long, and a table has {PRESSURE} changes since it began: streams wait for it");
                        self.set_pressed(true);
                    }
                }
                // The stores have caught up.
                () = recovery.stores.writer().room(), if self.is_choked => self.set_choked(false),
                // The stages are polled inside this arm.
                (index, event) = std::future::poll_fn(|cx| self.poll_groups(cx)) => self.group_event(index, event),
            }
        }
    }

    fn poll_groups(&mut self, cx: &mut Context<'_>) -> Poll<(usize, RunEvent)> {
        if let Some(resolution) = &mut self.resolution
            && let Poll::Ready(resolution) = resolution.poll_unpin(cx)
        {
            self.resolution = None;
            return Poll::Ready((0, RunEvent::Resolved(resolution.unwrap_or_else(|_| Resolution::abandoned()))));
        }
        if let Poll::Ready(Some((index, found))) = self.relocations.poll_next_unpin(cx) {
            return Poll::Ready((index, RunEvent::LogsFound(found)));
        }
        // IMPORTANT: before the agents are polled, because any of them may block the thread. The task in the slot may be the control
        // loop: this task has woken it with its answer to a commit, or a timer has.
        self.lifo_slot.vacate();
        self.turn = self.turn.wrapping_add(1);
        for step in 0..self.groups.len() {
            let index = self.turn.wrapping_add(step) % self.groups.len();
            let run = self.groups.get_mut(index).and_then(StageGroup::run_mut);
            if let Some(Poll::Ready(event)) = run.map(|run| run.poll_event(cx)) {
                return Poll::Ready((index, event));
            }
        }
        Poll::Pending
    }

    fn group_event(&mut self, index: usize, event: RunEvent) {
        if let RunEvent::Resolved(resolution) = event {
            return self.resolve(resolution);
        }
        if self.drain.is_some() {
            return self.drain_event(index, event);
        }
        let Some(group) = self.groups.get_mut(index) else { return };
        match event {
            RunEvent::AtRest => {
                if let Err(error) = group.seal() {
                    let failure = group.failed_seal(error);
                    self.fail(index, failure);
                }
            }
            RunEvent::Faulted(_, StageFault { error, .. }) if error.is_out_of_range() => {
                self.look_up_logs(index, &error)
            }
            RunEvent::Faulted(stage, fault) => {
                let failure = match group.run().and_then(|run| run.stages.get(stage)) {
                    Some(live) => Failure::fault((stage, live), fault),
                    None => Failure::start(&group.stages, fault.error),
                };
                self.fail(index, failure);
            }
            RunEvent::Returned(stage, returned) => self.returned(index, stage, returned),
            RunEvent::LogsFound(found) => self.relocate(index, found),
            RunEvent::Resolved(_) => {}
        }
    }

    /// Handles a stage that returned while its stream was open.
    fn returned(&mut self, index: usize, stage: usize, returned: Returned) {
        let Some(group) = self.groups.get_mut(index) else { return };
        let Some(live) = group.run().and_then(|run| run.stages.get(stage)).cloned() else { return };
        let mut sealed = Ok(true);
        if let Returned::Result(Ok(())) = returned
            && !live.is_closing()
        {
            // The event is finished: the next run starts right behind it.
            live.cursor.returned(false);
            sealed = group.seal();
        }
        let failure = match sealed {
            Ok(_) => Failure::returned((stage, &live), returned),
            Err(error) => group.failed_seal(error),
        };
        self.fail(index, failure);
    }

    /// Starts the stages of a group at its newest seal, if its positions are in the logs that other groups have found.
    fn start(&mut self, index: usize) {
        if self.groups.get(index).is_some_and(|group| group.is_in_other_log(&self.parts)) {
            return self.look_up_logs(index, &"a topic was deleted and created again");
        }
        self.start_run(index);
    }

    /// Starts the stages of a group at its newest seal.
    pub(super) fn start_run(&mut self, index: usize) {
        let Some(group) = self.groups.get_mut(index) else { return };
        let cx = &self.cx;
        let (sink, stats, timestamps) = (Arc::clone(&cx.sink), Arc::clone(&cx.stats), Arc::clone(&cx.timestamps));
        let outbox = match &cx.outputs {
            None => Outbox::new(sink, stats, cx.dead_letter.clone(), timestamps),
            Some(budget) => {
                let staging = Staging::new(sink, Arc::clone(budget));
                Outbox::staged(staging, stats, cx.dead_letter.clone(), timestamps)
            }
        };
        let started = GroupRun::start(Start {
            stages: &group.stages,
            inputs: &group.inputs,
            positions: group.sealed_positions(),
            failures: &group.failures,
            outbox,
            settings: &self.cx.settings,
            tables: &group.tables,
            clock: &self.cx.clock,
            observer: &self.cx.observer,
        });
        match started {
            Ok(run) => {
                group.activity = Activity::Running(run);
                group.hold(Hold::Stores, self.is_choked);
                group.hold(Hold::Changes, self.is_pressed);
                self.publish_live();
            }
            Err(error) => {
                let failure = Failure::start(&group.stages, error);
                self.fail(index, failure);
            }
        }
    }

    /// Ends a group's run after a failure. The next attempt starts at the newest seal, and without one the worker stops.
    pub(super) fn fail(&mut self, index: usize, failure: Failure) {
        let Some(group) = self.groups.get_mut(index) else { return };
        group.end(Activity::Pausing(Instant::now()));
        self.retry(index, failure);
    }

    pub(super) fn retry(&mut self, index: usize, failure: Failure) {
        let Some(group) = self.groups.get_mut(index) else { return };
        self.cx.stats.agent_failed();
        let (agent, place, what) = (&failure.agent, &failure.place, failure.what());
        self.cx.observe_failure(agent, place, &what);
        let pause = match group.decide(&failure, &self.cx.settings) {
            Decision::Retry(pause) => {
                tracing::error!(%agent, %place, "{what}; trying again in {pause:?}");
                pause
            }
            Decision::GiveUp(_) => {
                tracing::error!(%agent, %place, "{what}; the event is given up");
                Duration::ZERO
            }
            Decision::Stop(attempts) => return self.stop(index, failure.into_error(attempts)),
        };
        if !std::mem::replace(&mut group.has_failed, true) {
            tracing::info!(%agent, "the agent's function starts again: what it keeps in variables is lost");
        }
        group.activity = Activity::Pausing(Instant::now() + pause);
        self.is_failing = true;
        self.publish_live();
    }

    /// Stops the worker, which drains this task like the others.
    pub(super) fn stop(&mut self, index: usize, error: Error) {
        if let Some(group) = self.groups.get_mut(index) {
            group.activity = Activity::Ended { in_time: true };
        }
        // An error means that the worker has ended already.
        drop(self.cx.failed.send(error));
        self.publish_live();
    }

    /// Returns the next time at which [`look_at_time`](Self::look_at_time) has something to do.
    fn next_time(&self) -> Option<Instant> {
        if let Some(drain) = &self.drain {
            return self.is_running().then_some(drain.deadline);
        }
        let attempt =
            |group: &StageGroup| if let Activity::Pausing(until) = group.activity { Some(until) } else { None };
        self.groups.iter().filter_map(attempt).chain(self.seal_due).min()
    }

    fn look_at_time(&mut self) {
        let now = Instant::now();
        if self.drain.is_some() {
            return self.end_drain();
        }
        if self.seal_due.is_some_and(|due| due <= now) {
            self.seal_due = None;
            let runs = self.groups.iter_mut().filter_map(StageGroup::run_mut);
            runs.filter(|run| !run.is_at_rest()).for_each(GroupRun::demand_seal);
        }
        for index in 0..self.groups.len() {
            if self
                .groups
                .get(index)
                .is_some_and(|group| matches!(group.activity, Activity::Pausing(until) if until <= now))
            {
                self.start(index);
            }
        }
    }

    /// Schedules the seals of groups that are then inside an event: the next commit is due after a whole interval. The others
    /// are sealed at the commit.
    pub(super) fn schedule_seal(&mut self) {
        self.seal_due = Some(Instant::now() + self.cx.settings.commit_interval() / 2);
    }

    /// Returns the marks of the last commit.
    pub(super) fn marks(&self) -> Marks {
        let mut marks = Marks::default();
        self.groups.iter().for_each(|group| marks.join(&group.confirmed()));
        marks
    }

    /// Returns the metadata of the last commit, except those of the tables.
    pub(super) fn metadata(&self) -> CommitMetadata {
        let version = CommitVersion { epoch: self.epoch, number: self.cuts };
        self.marks().metadata(version, self.cx.plan_fingerprint)
    }

    pub(super) fn is_committing(&self) -> bool {
        self.groups.iter().any(StageGroup::is_committing)
    }

    pub(super) fn is_running(&self) -> bool {
        self.groups.iter().any(|group| group.run().is_some())
    }

    pub(super) fn set_choked(&mut self, choked: bool) {
        if std::mem::replace(&mut self.is_choked, choked) != choked {
            self.groups.iter().for_each(|group| group.hold(Hold::Stores, choked));
        }
    }

    pub(super) fn set_pressed(&mut self, pressed: bool) {
        if std::mem::replace(&mut self.is_pressed, pressed) != pressed {
            self.groups.iter().for_each(|group| group.hold(Hold::Changes, pressed));
        }
    }

    /// Publishes the running stages for the worker's watches.
    pub(super) fn publish_live(&self) {
        let runs: Vec<_> = self.groups.iter().filter_map(StageGroup::run).collect();
        let is_complete = runs.len() == self.groups.len();
        let stages = runs.into_iter().flat_map(|run| run.stages.iter().cloned()).collect();
        let failing = self.groups.iter().flat_map(|group| group.failing(&self.cx.settings)).collect();
        *self.live() = LiveStages { stages, failing, is_complete };
    }

    fn live(&self) -> std::sync::MutexGuard<'_, LiveStages> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the first epoch of the generation in which the last of the partitions was assigned.
pub(super) fn generation(parts: &[TaskPartition]) -> OwnerEpoch {
    parts.iter().map(TaskPartition::generation).max().unwrap_or_default()
}

/// Creates the groups of a task, whose first runs start at the last commit.
///
/// # Errors
/// A topic was deleted and created again, and its positions must not be moved; see [`Positions::restore`].
fn groups(
    stages: Vec<PlannedStage>,
    parts: &[TaskPartition],
    commits: &[CommitMetadata],
    (horizon, policies): (&Horizon, &ResetPolicies),
) -> Result<Vec<StageGroup>, Error> {
    let mut subscribers = vec![0; parts.len()];
    let mut inputs = |stage: &PlannedStage| {
        let reads = |(part, _): &(&TaskPartition, &mut usize)| stage.reads.contains(&part.reader.partition().topic);
        let input = |(part, count): (&TaskPartition, &mut usize)| {
            *count += 1;
            GroupInput { reader: Arc::clone(&part.reader), subscriber: *count - 1 }
        };
        parts.iter().zip(&mut subscribers).filter(reads).map(input).collect::<Vec<_>>()
    };
    let groups = stage_groups(stages).into_iter().map(|stages| {
        let inputs = stages.iter().map(&mut inputs).collect();
        let confirmed = Positions::restore(&stages, parts, commits, (horizon, policies))?;
        Ok(StageGroup::new(stages, inputs, confirmed, parts.iter().any(TaskPartition::is_behind_log)))
    });
    let groups = groups.collect::<Result<_, Error>>()?;
    parts.iter().zip(subscribers).for_each(|(part, count)| part.reader.reset(count));
    Ok(groups)
}

/// Waits until this time. Never resolves without one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
