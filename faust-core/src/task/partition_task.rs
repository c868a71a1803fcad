//! The task of one partition: runs its stages, takes cuts, starts again from the last commit when an agent fails.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
use super::tables::TaskTables;
use crate::error::{Error, TransportError};
use crate::plan::PlannedStage;
use crate::stage::outbox::Outbox;
use crate::stage::reader::StageReader;
use crate::stage::running::RunningStage;
use crate::transport::Delivery;

/// The task of one partition of one set of topics.
pub(crate) struct Task {
    pub(super) cx: Arc<TaskCx>,
    pub(super) stages: Vec<PlannedStage>,
    pub(super) readers: Vec<Arc<StageReader>>,
    /// For each stage, the readers it reads.
    pub(super) inputs: Vec<Vec<usize>>,
    /// What is committed.
    pub(super) committed: Positions,
    /// Where the next run begins: there, or further on if an agent returned early.
    pub(super) start: Positions,
    /// What was sent up to `start` and must arrive before that is committed.
    pub(super) carried: Vec<Arc<Delivery>>,
    /// What the commit that is under way covers.
    pub(super) pending: Option<Positions>,
    /// The number of the last cut, or of the last that anybody has left in a changelog.
    pub(super) cuts: u64,
    /// What was last committed for each partition.
    pub(super) parts: Vec<TaskPartition>,
    /// How the tables come about, until they are there.
    pub(super) preparation: Option<Preparation>,
    /// The worker is not ready while this is here.
    pub(super) restoring: Option<Restoring>,
    pub(super) tables: Arc<TaskTables>,
    /// Writes what cuts seal, if there are tables.
    pub(super) changelog: Option<Arc<ChangelogWriter>>,
    /// The last run was given up, and the next has not begun.
    fallen: bool,
    attempts: Attempts,
    live: Arc<Mutex<Vec<Arc<RunningStage>>>>,
}

/// How often a task looks at what its tables hold beside a commit that is under way.
const PRESSURE_LOOK: Duration = Duration::from_secs(1);
/// Changed keys of one table with which its streams wait for such a commit.
const PRESSURE: usize = 1_000_000;

/// Why a run is over.
enum RunEnd {
    Failed(Failure),
    /// Drained, and the last cut handed over; or the worker has gone.
    Done,
}

impl Task {
    /// Starts a task for partitions that belong together; with a preparation it has tables and restores them first.
    pub(crate) fn spawn(
        cx: Arc<TaskCx>,
        stages: Vec<PlannedStage>,
        parts: Vec<TaskPartition>,
        preparation: Option<Preparation>,
    ) -> TaskHandle {
        let committed = Positions::restore(&stages, &parts);
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
            committed,
            carried: Vec::new(),
            pending: None,
            parts: parts.clone(),
            restoring,
            preparation,
            tables: Arc::default(),
            changelog: None,
            fallen: false,
            attempts: Attempts::default(),
            live: Arc::clone(&live),
        };
        TaskHandle { commands, join: tokio::spawn(task.run(receiver)), parts, live }
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
                    // The worker stops; it drains this task as the others, and there is nothing to commit here.
                    drop(self.cx.failed.send(error));
                    self.pause_until_drained(&mut commands).await;
                    return;
                }
            }
        }
    }

    fn start(&mut self) -> Result<TaskRun, Error> {
        self.fallen = false;
        let outbox = Outbox::new(Arc::clone(&self.cx.sink), Arc::clone(&self.cx.stats), self.cx.dead_letter.clone());
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

    /// Runs one run.
    async fn drive(&mut self, run: &mut TaskRun, commands: &mut mpsc::UnboundedReceiver<Command>) -> RunEnd {
        // The cut that is being taken: whom to tell, and until when to wait for rest.
        let mut cutting: Option<(oneshot::Sender<Option<Cut>>, Instant)> = None;
        let recovery = Arc::clone(&self.cx.recovery);
        // The stores have more waiting than they may: nothing is read until they have caught up.
        let mut choked = false;
        // Or a commit does not end, and too much has been written since.
        let mut pressed = false;
        loop {
            let deadline = cutting.as_ref().map(|(_, deadline)| *deadline);
            tokio::select! {
                // Commands first: the stages may use up all that tokio allows a task in one turn.
                biased;
                // The worker asks for a cut, tells of a commit, or takes the partition away.
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
                        // The commit that waits for it goes without: the last cut has all of it.
                        drop(cutting.take());
                        let in_order = self.drain(run, deadline).await;
                        let cut = if self.settle(commands).await { self.last_cut(run, in_order) } else { None };
                        drop(reply.send(Drained { cut, in_order: in_order.is_some() }));
                        return RunEnd::Done;
                    }
                },
                // An agent stays in its event: this commit is left out, the event is not cut in two.
                () = at(deadline) => {
                    if let Some((reply, _)) = cutting.take() {
                        self.cx.stats.cut_missed();
                        tracing::warn!(place = %busy_place(run), "no commit: the agent stayed in an event longer than `commit_cut_timeout`");
                        drop(reply.send(None));
                    }
                    choked = false;
                    run.release();
                }
                // Time to see what has been written since a commit began that does not end.
                () = tokio::time::sleep(PRESSURE_LOOK), if self.pending.is_some() && !pressed => {
                    pressed = self.tables.dirty() >= PRESSURE;
                    if pressed {
                        tracing::warn!("a commit does not end, and tables hold {PRESSURE} changes since it began: their streams wait for it");
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
                // The stages run inside this arm; it yields when one of them has something to say.
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

    /// Hands a cut over. A commit that was given up meanwhile will not tell what became of it.
    fn answer(&mut self, reply: oneshot::Sender<Option<Cut>>, cut: Option<Cut>) {
        if reply.send(cut).is_err() {
            let pending = self.pending.take();
            self.unconfirmed(pending);
        }
    }

    /// A stage has returned though its stream was open.
    fn returned(&mut self, run: &TaskRun, index: usize, returned: Returned) -> Failure {
        let Some(stage) = run.stages.get(index) else {
            return Failure::start(&self.stages, Error::Misuse("a stage is missing".to_owned()));
        };
        if let Returned::Result(Ok(())) = returned {
            let is_done = !stage.is_closing();
            stage.cursor.returned(false);
            // It finished the event it was in, and what was finished stays so: begin again right there. But with tables,
            // what another agent has written in an event that it is still in must go.
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

    /// Ends the streams and waits for the stages to return; `None` if the deadline came first, else whether all of them
    /// have finished what they were in.
    async fn drain(&self, run: &mut TaskRun, deadline: Instant) -> Option<bool> {
        let mut finished = true;
        // Their streams stay silent, so that they will not return.
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
                            // Windows that are half closed, and late events nobody was told of, are not done.
                            finished &= !stage.is_closing();
                            stage.cursor.returned(stage.cursor.gate.has_ended());
                        }
                    }
                    RunEvent::Returned(index, returned) => {
                        faulted.remove(&index);
                        if let Some(stage) = run.stages.get(index) {
                            let failure = Failure::returned(stage, returned);
                            tracing::error!(agent = %failure.agent, place = %failure.place, "{} while it was ended; the event will be read again", failure.what());
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

    /// Waits for the commit that is under way to be resolved. False if what it covers is to be done again, or if nobody
    /// is left to tell.
    async fn settle(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> bool {
        while self.pending.is_some() {
            match commands.recv().await {
                None => return false,
                Some(Command::Resolved(resolution)) => {
                    if self.resolve(resolution).is_some() {
                        return false;
                    }
                }
                // It has been told to end, and the next commit is not for it.
                Some(Command::Cut(_) | Command::Drain(..)) => {}
            }
        }
        true
    }

    /// The cut of a run that was drained. An event that was begun and not finished may have written to tables:
    /// then there is nothing to commit, and what was done since the last commit is done again.
    fn last_cut(&mut self, run: &TaskRun, in_order: Option<bool>) -> Option<Cut> {
        if in_order != Some(true) && !self.tables.is_empty() {
            return None;
        }
        self.take_cut(run).unwrap_or_else(|error| {
            tracing::error!("{error}; what was done since the last commit will be done again");
            None
        })
    }

    /// The next run begins at what is committed, with the tables as they were then.
    fn fall_back(&mut self) {
        self.start = self.committed.clone();
        self.carried.clear();
        // What was sealed is taken back only once its commit is known to have failed.
        self.tables.roll_back_open();
        self.fallen = true;
    }

    fn resolve(&mut self, resolution: Resolution) -> Option<TransportError> {
        let pending = self.pending.take();
        match (resolution, pending) {
            (Resolution::Committed, Some(pending)) => {
                // The tables have heard of it from the commit itself.
                self.committed = pending;
                // Nobody begins before what is committed, whichever of the two moved last.
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

    /// A commit was given up, or the broker did not take it.
    fn unconfirmed(&self, pending: Option<Positions>) {
        if pending.is_none() {
            return;
        }
        if self.fallen {
            // The next attempt begins before it.
            self.tables.roll_back_sealed();
        } else {
            self.tables.unseal();
        }
    }

    /// Waits between two attempts. False when the worker takes the partition away meanwhile.
    async fn pause(&mut self, until: Instant, commands: &mut mpsc::UnboundedReceiver<Command>) -> bool {
        loop {
            // A commit that is under way decides where to begin again, so it is waited for.
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
                        // Undelivered or not: what stands then is what holds.
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
        // Whether it ends by a drain or by the worker's end makes no difference.
        while self.pause(Instant::now() + std::time::Duration::from_secs(3600), commands).await {}
    }

    fn set_live(&self, stages: Vec<Arc<RunningStage>>) {
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = stages;
    }
}

fn inputs_of(stage: &PlannedStage, readers: &[Arc<StageReader>]) -> Vec<usize> {
    let reads = |reader: &&Arc<StageReader>| stage.reads.contains(&reader.partition().topic);
    readers.iter().enumerate().filter(|(_, reader)| reads(reader)).map(|(index, _)| index).collect()
}

/// The event of the stage that is inside one, for messages to people.
fn busy_place(run: &TaskRun) -> String {
    let busy = run.stages.iter().find(|stage| !stage.cursor.gate.at_rest());
    busy.map_or_else(|| "between events".to_owned(), |stage| format!("agent `{}` at {}", stage.agent, stage.place()))
}

/// At the deadline, or never.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
