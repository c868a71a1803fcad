//! The control loop of a worker: its events, its commits, and its end.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, interval_at};

use super::commit;
use super::drain::{self, DrainedTasks, end_all};
use super::group::GroupEvent;
use super::options::WorkerOptions;
use super::pace::{CommitPace, InputPosition};
use super::shared::{Key, Phase, WorkerState};
use super::upkeep::{self, Purge};
use super::watch::{CountersWatch, FailingWatch, IdleWatch, StuckWatch};
use crate::directory::Rival;
use crate::error::Error;
use crate::local::{Connection, WorkerDir};
use crate::message::Offset;
use crate::plan::Plan;
use crate::stage::reader::StageReader;
use crate::stage::staging::OutputBudget;
use crate::task::{CommittedOffsets, TaskCx, TaskHandle, TaskPartition};
use crate::transport::{Group, PROGRESS_INTERVAL, TopicPartition};

/// The state of the control loop, owned by one Tokio task.
pub(super) struct Control {
    pub(super) cx: Arc<TaskCx>,
    pub(super) plan: Arc<Plan>,
    group: Arc<dyn Group>,
    pub(super) shared: Arc<WorkerState>,
    options: WorkerOptions,
    events: mpsc::UnboundedReceiver<GroupEvent>,
    /// Events that have arrived during a drain.
    postponed: VecDeque<GroupEvent>,
    pub(super) tasks: BTreeMap<Key, TaskHandle>,
    /// Tasks that are being drained.
    leaving: Vec<LeavingTask>,
    /// Drained tasks whose partitions were revoked. They are resumed if the next assignment gives the partitions back.
    pub(super) parked: BTreeMap<Key, TaskHandle>,
    /// Partitions whose set has tables and is not assigned as a whole: another version of the app owns the others.
    pub(super) incomplete: BTreeMap<Key, Vec<TaskPartition>>,
    /// Time of the next report of these.
    pub(super) incomplete_report: Option<Instant>,
    /// Preparations of the tables of new tasks. Each waits for the broker without a time limit, but ends with the
    /// worker.
    pub(super) preparing: JoinSet<()>,
    /// The keeper of the standbys, from the first assignment on, and its notification of assignments.
    pub(super) standbys: JoinSet<()>,
    pub(super) standbys_due: Arc<Notify>,
    /// The check of the topics' partition counts in progress, if any.
    looking: UnderWay<Result<(), Error>>,
    purge: Purge,
    /// The deletion of repartition records in progress, if any.
    purging: UnderWay<BTreeMap<TopicPartition, Offset>>,
    /// The commit in progress, if any; there is at most one.
    commit: UnderWay<CommittedOffsets>,
    /// The commits are due.
    commits: Interval,
    /// Time of a commit before that, since a stage waits for messages that it will contain.
    early_commit: Option<Instant>,
    /// Time of a commit for which a group waits that has no memory for its messages. It is never deferred.
    held_commit: Option<Instant>,
    pace: CommitPace,
    /// The checks for stuck and failing agents are due.
    watches: Interval,
    idle: IdleWatch,
    stuck: StuckWatch,
    failing: FailingWatch,
    counters: CountersWatch,
    pub(super) assigned_once: bool,
    /// Time of the next report while the brokers are unavailable.
    away_report: Option<Instant>,
}

/// An operation that runs alongside the loop, if one is in progress.
type UnderWay<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

/// Interval at which a worker with `until_idle` checks whether it is idle.
const IDLE_LOOK: Duration = Duration::from_millis(50);
/// Interval at which a worker compares the topics' partition counts with those at its start.
const TOPICS_LOOK: Duration = Duration::from_secs(30);
/// Fraction of the time for a drain that a commit already in progress may use.
const COMMIT_SHARE: f64 = 0.2;
/// Maximum time for the removal of a worker from the directory.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);
/// Maximum interval of the checks for stuck and failing agents.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

impl Drop for Control {
    /// Ends the transactions in progress: a crash must not leave any behind.
    fn drop(&mut self) {
        self.cx.transactor.iter().for_each(|transactor| transactor.end());
    }
}

impl Control {
    pub(super) fn new(
        cx: Arc<TaskCx>,
        plan: Arc<Plan>,
        group: Arc<dyn Group>,
        shared: Arc<WorkerState>,
        options: WorkerOptions,
        events: mpsc::UnboundedReceiver<GroupEvent>,
    ) -> Self {
        let (idle, stuck) = (IdleWatch::default(), StuckWatch::default());
        let regular = cx.settings.commit_interval();
        let is_set = cx.settings.broker_commit_interval.is_some();
        let pace = CommitPace::new((cx.transactor.is_some() && !is_set).then_some(regular));
        let mut commits = interval(regular);
        commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let every = (cx.settings.stream_processing_timeout / 4).clamp(Duration::from_millis(20), WATCH_INTERVAL);
        Self {
            events,
            postponed: VecDeque::new(),
            leaving: Vec::new(),
            parked: BTreeMap::new(),
            incomplete: BTreeMap::new(),
            incomplete_report: None,
            commits,
            early_commit: None,
            held_commit: None,
            pace,
            watches: interval(every),
            cx,
            plan,
            group,
            shared,
            options,
            tasks: BTreeMap::new(),
            preparing: JoinSet::new(),
            standbys: JoinSet::new(),
            standbys_due: Arc::default(),
            looking: None,
            purge: Purge::default(),
            purging: None,
            commit: None,
            idle,
            stuck,
            failing: FailingWatch::default(),
            counters: CountersWatch::default(),
            assigned_once: false,
            away_report: None,
        }
    }

    /// Runs the worker until it has ended, and closes its stores and its connection.
    pub(super) async fn run(
        mut self,
        mut failures: mpsc::UnboundedReceiver<Error>,
        home: Option<(Connection, WorkerDir)>,
    ) {
        let reason = self.work(&mut failures, home.as_ref()).await;
        if let Err(error) = reason {
            self.shared.fail(error);
        }
        self.shared.advance(Phase::Stopping);
        self.end().await;
        tracing::info!("the worker has ended: {}", self.cx.stats.counts());
        let left = (self.shared.stopping_since() + self.cx.settings.shutdown_timeout)
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(100));
        self.cx.recovery.stores.close(left).await;
        if let Some((connection, directory)) = home {
            let closed = connection.close(Some(&directory), self.cx.settings.shutdown_timeout).await;
            if let Err(error) = closed {
                self.shared.fail(error);
            }
            drop(directory);
        }
        // Everything is dropped before the last phase: once `wait` returns, another worker may open the same stores.
        let shared = Arc::clone(&self.shared);
        drop(self);
        shared.advance(Phase::Done);
    }

    /// Runs the main loop. Returns when the worker has to stop, with the error that is the reason, if any.
    async fn work(
        &mut self,
        failures: &mut mpsc::UnboundedReceiver<Error>,
        home: Option<&(Connection, WorkerDir)>,
    ) -> Result<(), Error> {
        let mut phase = self.shared.phase.subscribe();
        let mut idle = interval(IDLE_LOOK);
        let mut topics = interval_at(Instant::now() + TOPICS_LOOK, TOPICS_LOOK);
        let every = self.cx.settings.repartition_purge_interval;
        let mut purges = interval_at(Instant::now() + every, every);
        let (recovery, directory) = (Arc::clone(&self.cx.recovery), Arc::clone(&self.cx.directory));
        let outputs = self.cx.outputs.clone();
        let outputs = outputs.as_deref();
        let rivals = directory.rivals();
        tokio::pin!(rivals);
        let sink = Arc::clone(&self.cx.sink);
        let lost = sink.lost();
        tokio::pin!(lost);
        let mut is_alone = false;
        let gone = gone(home);
        tokio::pin!(gone);
        loop {
            if let Some(event) = self.postponed.pop_front() {
                self.group_event(event).await?;
                continue;
            }
            tokio::select! {
                biased;
                // The other workers of the app are known. IMPORTANT: before partitions are assigned.
                rivals = &mut rivals, if !is_alone => match rivals.into_iter().next() {
                    None => is_alone = true,
                    Some(rival) => return Err(contested(rival)),
                },
                // Partitions are assigned or revoked, or the connection changes.
                Some(event) = self.events.recv(), if is_alone => self.group_event(event).await?,
                // A task has failed permanently, or the program has called `Worker::fail`.
                Some(error) = failures.recv() => return Err(error),
                // The producer has failed for good. What it has not delivered is sent again from the last commit, after a restart.
                error = &mut lost => return Err(error.into()),
                // Shutdown has been requested.
                () = stopping(&mut phase) => return Ok(()),
                // The commit in progress has ended.
                outcome = finished(&mut self.commit) => self.committed(&outcome),
                // The next commit is due.
                _ = self.commits.tick(), if self.commit.is_none() => self.begin_due_commit(),
                // A table has so many changed keys that a commit is due before the interval has passed.
                () = recovery.commit_soon().notified(), if self.commit.is_none() => self.begin_commit(),
                // The memory for messages that wait for a commit is filling.
                () = filling(outputs), if self.commit.is_none() => self.begin_commit(),
                // A message has to be committed before the app's next stage can read it.
                () = forwarded(outputs), if self.early_commit.is_none() => self.schedule_early_commit(),
                // That commit is due.
                () = due(self.early_commit), if self.commit.is_none() => self.begin_due_commit(),
                // A group waits for memory, which a commit frees.
                () = due(self.held_commit), if self.commit.is_none() => self.begin_commit(),
                // The brokers are still unavailable.
                () = due(self.away_report) => self.report_outage(),
                // The next check of the topics is due.
                _ = topics.tick(), if self.looking.is_none() => self.look_at_topics(),
                // The check of the topics has ended.
                looked = finished(&mut self.looking) => looked?,
                // The next deletion of committed repartition records is due.
                _ = purges.tick(), if self.purging.is_none() => self.begin_purge(),
                // The deletion has ended.
                trimmed = finished(&mut self.purging) => self.purge.done(trimmed),
                // The next check for stuck and failing agents is due.
                _ = self.watches.tick() => self.watch(),
                // The next check for idleness is due.
                _ = idle.tick(), if self.options.until_idle.is_some() => if self.is_idle() { return Ok(()) },
                // The worker that hosts the broker has shut down.
                reason = &mut gone => return Err(Error::BrokerGone(reason)),
            }
        }
    }

    async fn group_event(&mut self, event: GroupEvent) -> Result<(), Error> {
        match event {
            GroupEvent::Assigned(partitions) => self.assign(partitions).await,
            GroupEvent::Revoked(partitions, lost, done) => {
                self.revoke(partitions, lost, self.cx.settings.broker_rebalance_timeout).await;
                // The transport may have given up waiting.
                done.send(()).ok();
            }
            GroupEvent::OffsetsPending(partitions) => self.fence(&partitions),
            GroupEvent::Failed(error) => return Err(error.into()),
            GroupEvent::Connection(true, detail) => {
                if self.away_report.take().is_some() {
                    tracing::info!("the broker is available again: {detail}");
                }
            }
            GroupEvent::Connection(false, detail) => {
                self.away_report = Some(Instant::now() + PROGRESS_INTERVAL);
                self.cx.stats.disconnected();
                tracing::warn!("the broker is unavailable, waiting for it: {detail}");
            }
            GroupEvent::Deleted(partition, unread, next) => self.report_deleted(&partition, unread, next),
        }
        Ok(())
    }

    fn report_outage(&mut self) {
        self.away_report = Some(Instant::now() + PROGRESS_INTERVAL);
        tracing::warn!("the broker is still unavailable, waiting for it: {}", self.cx.transport.outage());
    }

    fn look_at_topics(&mut self) {
        let (plan, transport) = (Arc::clone(&self.plan), Arc::clone(&self.cx.transport));
        let begun = Arc::clone(&self.cx.begun_logs);
        let parts = self.tasks.values().flat_map(|task| &task.parts).cloned().collect();
        let own_parts = Arc::clone(&self.cx.recovery.own_parts);
        self.looking = Some(Box::pin(upkeep::look_at_topics(plan, transport, begun, own_parts, parts)));
    }

    fn begin_purge(&mut self) {
        let due = self.purge.due(&self.plan, &self.tasks);
        if !due.is_empty() {
            self.purging = Some(Box::pin(upkeep::purge(Arc::clone(&self.cx.transport), due)));
        }
    }

    /// Drains tasks: their streams end, and their last cuts are committed. Meanwhile, the other tasks are read and committed.
    pub(super) async fn drain(&mut self, keys: &[Key], deadline: Instant) -> DrainedTasks {
        let mut tasks = Vec::new();
        for key in keys {
            let Some(task) = self.tasks.remove(key) else { continue };
            self.leaving.push(LeavingTask { key: *key, parts: task.parts.clone() });
            tasks.push((*key, task));
        }
        if tasks.is_empty() {
            return DrainedTasks { tasks: Vec::new(), dropped: Vec::new(), in_time: true };
        }
        // IMPORTANT: the drain begins before the first await, so that no agent begins another event.
        let drained = self.alongside(drain::drain(tasks, deadline, Arc::clone(&self.cx)), deadline).await;
        let leaving = std::mem::take(&mut self.leaving);
        drained.unwrap_or_else(|| {
            // The tasks were dropped, and with them their agents.
            let dropped = leaving.into_iter().map(|task| (task.key, task.parts)).collect();
            DrainedTasks { tasks: Vec::new(), dropped, in_time: false }
        })
    }

    /// Carries on with the commits of the other tasks until a drain has ended. Other events of the group wait for that. Returns
    /// `None` if partitions are revoked meanwhile and their deadline passes: they are lost then.
    async fn alongside<T>(&mut self, drain: impl Future<Output = T>, deadline: Instant) -> Option<T> {
        tokio::pin!(drain);
        // The last cut of a task waits for the commit in progress, so that its sealed changes are not sent again. A commit that
        // takes too long is abandoned; its sealed changes are sent again.
        let mut patience = self.commit.is_some().then(|| {
            let left = deadline.saturating_duration_since(Instant::now());
            Instant::now() + left.mul_f64(COMMIT_SHARE)
        });
        let (mut lost_at, outputs) = (None, self.cx.outputs.clone());
        loop {
            tokio::select! {
                biased;
                drained = &mut drain => return Some(drained),
                // The deadline of a revocation has passed.
                () = due(lost_at) => return None,
                // Partitions are assigned or revoked, or the connection changes.
                Some(event) = self.events.recv() => {
                    if let GroupEvent::Revoked(_, lost, _) = event {
                        let budget = if lost { Duration::ZERO } else { self.cx.settings.broker_rebalance_timeout };
                        let at = Instant::now() + budget;
                        lost_at = Some(lost_at.map_or(at, |earlier: Instant| earlier.min(at)));
                    }
                    self.postponed.push_back(event);
                }
                // The commit in progress has ended.
                outcome = finished(&mut self.commit) => {
                    patience = None;
                    self.committed(&outcome);
                }
                // A commit that has begun before the drain takes too long.
                () = due(patience) => {
                    patience = None;
                    self.give_up_commit();
                }
                // The next commit is due.
                _ = self.commits.tick(), if self.commit.is_none() => self.begin_commit(),
                () = filling(outputs.as_deref()), if self.commit.is_none() => self.begin_commit(),
                // The next check for stuck and failing agents is due.
                _ = self.watches.tick() => self.watch(),
            }
        }
    }

    /// Abandons the commit in progress. The next cuts cover it, and wait for the same messages.
    pub(super) fn give_up_commit(&mut self) {
        self.commit = None;
    }

    /// Schedules a commit that comes sooner than the interval, since a stage waits for its messages.
    fn schedule_early_commit(&mut self) {
        self.early_commit = self.pace.early();
    }

    /// Begins the commit that is due, unless it waits.
    fn begin_due_commit(&mut self) {
        let positions = inputs(&self.tasks, &self.plan).map(|reader| {
            let (next, end) = reader.position_and_end();
            InputPosition { partition: reader.partition().clone(), next, end }
        });
        if self.pace.is_deferred(positions) {
            self.early_commit = None;
        } else {
            self.begin_commit();
        }
    }

    fn begin_commit(&mut self) {
        (self.early_commit, self.held_commit) = (None, None);
        let positions = inputs(&self.tasks, &self.plan);
        self.pace.begin(positions.map(|reader| (reader.partition().clone(), reader.position())));
        let tasks: Vec<_> = self.tasks.values().map(|task| task.commands.clone()).collect();
        if !tasks.is_empty() {
            self.commit = Some(Box::pin(commit::commit(tasks, Arc::clone(&self.cx))));
        }
    }

    fn committed(&mut self, outcome: &CommittedOffsets) {
        self.pace.end();
        if self.cx.outputs.as_ref().is_some_and(|outputs| outputs.take_held()) {
            self.held_commit = Some(CommitPace::earliest());
        }
        let leaving = self.leaving.iter().map(|task| &task.parts);
        let all = self.tasks.values().map(|task| &task.parts).chain(leaving);
        all.for_each(|parts| drain::record(parts, outcome));
    }

    fn watch(&mut self) {
        self.report_incomplete();
        self.counters.look(self.cx.stats.counts(), Instant::now());
        let stuck = self.stuck.look(&self.tasks, self.cx.settings.stream_processing_timeout);
        *self.shared.stuck.lock().unwrap_or_else(PoisonError::into_inner) = stuck;
        *self.shared.failing.lock().unwrap_or_else(PoisonError::into_inner) = self.failing.look(&self.tasks);
    }

    fn is_idle(&mut self) -> bool {
        let Some(quiet) = self.options.until_idle.filter(|_| self.assigned_once) else { return false };
        // In the middle of a rebalance, and while partitions wait for others, not everything has been read.
        if !(self.parked.is_empty() && self.incomplete.is_empty()) {
            return false;
        }
        self.idle.look(&self.tasks, self.cx.stats.counts().events, quiet)
    }

    /// Leaves the group within the shutdown timeout (promise P5).
    async fn end(&mut self) {
        let budget = self.cx.settings.shutdown_timeout;
        // From the time of the request: a rebalance may have taken some of the budget since.
        let deadline = self.shared.stopping_since() + budget;
        // IMPORTANT: drain before leaving. A consumer that is leaving sends no heartbeats, and after a long drain its
        // commit would be rejected. The drain has 90% of the time, so that a slow shutdown can be distinguished from
        // one that hangs.
        let all: Vec<_> = self.tasks.keys().copied().collect();
        let agents = Instant::now() + deadline.saturating_duration_since(Instant::now()).mul_f64(0.9);
        let drained = self.drain(&all, agents).await;
        if !drained.dropped.is_empty() {
            tracing::warn!(
                "the partitions were revoked before their events were finished: their next owner reads them again"
            );
        } else if !drained.in_time {
            self.shared.fail(Error::ShutdownTimeout(budget));
        }
        end_all(drained.tasks).await;
        // Their callbacks wait.
        let postponed = std::mem::take(&mut self.postponed).into_iter();
        for event in postponed {
            if let GroupEvent::Revoked(.., done) = event {
                done.send(()).ok();
            }
        }
        let group = Arc::clone(&self.group);
        let leave = group.leave();
        tokio::pin!(leave);
        loop {
            tokio::select! {
                biased;
                () = &mut leave => break,
                Some(event) = self.events.recv() => match event {
                    GroupEvent::Revoked(partitions, lost, done) => {
                        let left = deadline.saturating_duration_since(Instant::now());
                        self.revoke(partitions, lost, left.min(self.cx.settings.broker_rebalance_timeout)).await;
                        // The transport may have given up waiting.
                        done.send(()).ok();
                    }
                    // Partitions assigned now would be revoked immediately.
                    GroupEvent::Assigned(_)
                    | GroupEvent::OffsetsPending(_)
                    | GroupEvent::Connection(..)
                    | GroupEvent::Deleted(..) => {}
                    GroupEvent::Failed(error) => tracing::warn!("{error}"),
                },
                () = tokio::time::sleep_until(deadline) => {
                    self.group.abandon();
                    self.shared.fail(Error::ShutdownTimeout(budget));
                    break;
                }
            }
        }
        let left = std::mem::take(&mut self.tasks).into_iter().chain(std::mem::take(&mut self.parked));
        end_all(left.map(|(key, task)| (key, task, false)).collect()).await;
        self.preparing.shutdown().await;
        self.standbys.shutdown().await;
        self.cx.directory.leave(deadline.saturating_duration_since(Instant::now()).min(LEAVE_WITHIN)).await;
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(10));
        if let Err(error) = self.cx.sink.flush(left).await {
            tracing::warn!("some messages were not delivered: {error}");
        }
    }
}

/// Creates the error of a worker that would own the same partitions of a table as another one: Kafka gives each all partitions
/// of its own topics.
fn contested(rival: Rival) -> Error {
    let Rival { worker, table, topics } = rival;
    Error::Misuse(format!(
        "table `{table}` is that of another program with the id of this app, whose worker `{worker}` has it from other topics ({}): give each program an id of its own, or the table another name; to move a table to other topics, raise the app's `version`, or stop all workers first",
        topics.join(", ")
    ))
}

/// Returns the readers of the app's input: of topics that the app does not write itself.
fn inputs<'a>(tasks: &'a BTreeMap<Key, TaskHandle>, plan: &'a Plan) -> impl Iterator<Item = &'a Arc<StageReader>> + 'a {
    let readers = tasks.values().flat_map(|task| &task.parts).map(|part| &part.reader);
    readers.filter(|reader| !plan.writes_to(&reader.partition().topic))
}

/// A task that is being drained.
struct LeavingTask {
    key: Key,
    parts: Vec<TaskPartition>,
}

/// Resolves once shutdown has been requested.
async fn stopping(phase: &mut watch::Receiver<Phase>) {
    // The returned guard must not be held across an await. An error means that the sender was dropped with the worker's
    // handle.
    drop(phase.wait_for(|phase| *phase >= Phase::Stopping).await);
}

/// Awaits the operation in progress. Never resolves if there is none.
async fn finished<T>(under_way: &mut UnderWay<T>) -> T {
    let Some(running) = under_way else { return std::future::pending().await };
    let outcome = running.await;
    *under_way = None;
    outcome
}

/// Waits until half of the memory for messages is in use. Never resolves under at-least-once.
async fn filling(outputs: Option<&OutputBudget>) {
    match outputs {
        Some(outputs) => outputs.filling.notified().await,
        None => std::future::pending().await,
    }
}

/// Waits until a message is staged that the app itself reads. Never resolves under at-least-once.
async fn forwarded(outputs: Option<&OutputBudget>) {
    match outputs {
        Some(outputs) => outputs.forwarded.notified().await,
        None => std::future::pending().await,
    }
}

/// Waits until this time; for ever if there is none.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Waits until the worker that hosts the broker shuts down, and returns the reason. Never resolves if no other worker
/// hosts the broker.
async fn gone(home: Option<&(Connection, WorkerDir)>) -> String {
    match home {
        Some((connection, _)) => connection.gone().await,
        None => std::future::pending().await,
    }
}
