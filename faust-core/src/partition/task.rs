//! The task of one partition: runs its stages, takes cuts, starts again from the last commit when an agent fails.

mod cut;
mod failure;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

pub(crate) use self::cut::Cut;
use self::cut::Positions;
use self::failure::{Attempts, Failure};
use super::feed::Feed;
use super::generation::{Generation, News, Returned, Start};
use super::stage::{LiveStage, Outputs};
use crate::config::Settings;
use crate::delivery::Delivery;
use crate::error::Error;
use crate::plan::Stage;
use crate::stats::Stats;
use crate::transport::{Assigned, Committed, Sink, TransportError};

/// What a task is asked to do.
pub(crate) enum Command {
    /// Take a cut. The answer is `None` when there is nothing to commit or no rest in time.
    Cut(oneshot::Sender<Option<Cut>>),
    /// What became of the commit of the last cut.
    Resolved(Resolution),
    /// End the streams, let the stages return until the deadline, then take the last cut and end.
    Drain(Instant, oneshot::Sender<Drained>),
}

/// How a task has ended.
#[derive(Debug)]
pub(crate) struct Drained {
    /// What there is to commit.
    pub(crate) cut: Option<Cut>,
    /// Whether every agent returned; otherwise it was dropped in the middle of something.
    pub(crate) in_order: bool,
}

/// What became of a commit.
#[derive(Debug)]
pub(crate) enum Resolution {
    /// The broker has it.
    Committed,
    /// The broker was away or the group has moved on: the next commit covers it.
    Unconfirmed,
    /// Something this task had sent will never arrive.
    Undelivered(TransportError),
}

/// What all tasks of a worker share.
pub(crate) struct TaskCx {
    pub(crate) settings: Settings,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) dead_letter: String,
    /// Tells the worker that a task has given up.
    pub(crate) failed: mpsc::UnboundedSender<Error>,
}

/// One partition of a task: where it is read, and what was last committed for it.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) feed: Arc<Feed>,
    pub(crate) start: i64,
    pub(crate) committed: Option<Committed>,
}

impl Part {
    pub(crate) fn new(assigned: Assigned, settings: &Settings) -> Self {
        let Assigned { partition, committed, start, queue } = assigned;
        Self { feed: Arc::new(Feed::new(partition, queue, start, settings.stream_buffer_maxsize)), start, committed }
    }

    /// A commit has gone through.
    pub(crate) fn commit(&mut self, committed: Committed) {
        self.start = committed.offset;
        self.committed = Some(committed);
    }
}

/// The worker's handle of a running task.
pub(crate) struct TaskHandle {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) join: tokio::task::JoinHandle<()>,
    /// Outlive the task, so that another can be made of them when partitions come or go.
    pub(crate) parts: Vec<Part>,
    /// The stages of the present generation, for whoever watches over idle and stuck ones.
    pub(crate) live: Arc<Mutex<Vec<Arc<LiveStage>>>>,
}

impl Drop for TaskHandle {
    /// A task does not outlive its worker, whichever way that ends.
    fn drop(&mut self) {
        self.join.abort();
    }
}

/// The task of one partition of one set of topics.
pub(crate) struct Task {
    cx: Arc<TaskCx>,
    stages: Vec<Stage>,
    feeds: Vec<Arc<Feed>>,
    /// For each stage, the feeds it reads.
    inputs: Vec<Vec<usize>>,
    /// What is committed.
    committed: Positions,
    /// Where the next generation begins: there, or further on if an agent returned early.
    start: Positions,
    /// What was sent up to `start` and must arrive before that is committed.
    carried: Vec<Arc<Delivery>>,
    /// What the commit that is under way covers.
    pending: Option<Positions>,
    attempts: Attempts,
    live: Arc<Mutex<Vec<Arc<LiveStage>>>>,
}

/// Why a generation is over.
enum Over {
    Failed(Failure),
    /// Drained, and the last cut handed over; or the worker has gone.
    Done,
}

impl Task {
    /// Starts a task for partitions that belong together.
    pub(crate) fn spawn(cx: Arc<TaskCx>, stages: Vec<Stage>, parts: Vec<Part>) -> TaskHandle {
        let committed = Positions::restore(&stages, &parts);
        let feeds: Vec<_> = parts.iter().map(|part| Arc::clone(&part.feed)).collect();
        let inputs = stages.iter().map(|stage| inputs_of(stage, &feeds)).collect();
        let live = Arc::default();
        let (commands, receiver) = mpsc::unbounded_channel();
        let task = Self {
            cx,
            stages,
            feeds,
            inputs,
            start: committed.clone(),
            committed,
            carried: Vec::new(),
            pending: None,
            attempts: Attempts::default(),
            live: Arc::clone(&live),
        };
        TaskHandle { commands, join: tokio::spawn(task.run(receiver)), parts, live }
    }

    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        // The place of restore: after the assignment, before the first generation. Without tables it is empty.
        loop {
            let over = match self.start() {
                Ok(mut generation) => self.drive(&mut generation, &mut commands).await,
                Err(error) => Over::Failed(Failure::start(&self.stages, error)),
            };
            self.set_live(Vec::new());
            let Over::Failed(failure) = over else { return };
            self.cx.stats.agent_failed();
            if !failure.keeps_what_is_done() {
                self.fall_back();
            }
            match self.attempts.next(&failure, &self.cx.settings) {
                Ok(pause) => {
                    tracing::error!(agent = %failure.agent, place = %failure.place, "{}; trying again in {pause:?}", failure.what());
                    if !self.pause(Instant::now() + pause, &mut commands).await {
                        return;
                    }
                }
                Err(error) => {
                    // The worker stops; it drains this task as the others, and there is nothing to commit here.
                    drop(self.cx.failed.send(error));
                    self.pause_until_drained(&mut commands).await;
                    return;
                }
            }
        }
    }

    fn start(&self) -> Result<Generation, Error> {
        let outputs = Outputs::new(Arc::clone(&self.cx.sink), Arc::clone(&self.cx.stats), self.cx.dead_letter.clone());
        let generation = Generation::start(Start {
            stages: &self.stages,
            inputs: &self.inputs,
            starts: self.start.starts(),
            feeds: &self.feeds,
            outputs,
            settings: &self.cx.settings,
            stream_time: self.start.stream_time(),
        })?;
        self.set_live(generation.stages.clone());
        Ok(generation)
    }

    /// Runs one generation.
    async fn drive(&mut self, generation: &mut Generation, commands: &mut mpsc::UnboundedReceiver<Command>) -> Over {
        // The cut that is being taken: whom to tell, and until when to wait for rest.
        let mut cutting: Option<(oneshot::Sender<Option<Cut>>, Instant)> = None;
        loop {
            let deadline = cutting.as_ref().map(|(_, deadline)| *deadline);
            tokio::select! {
                // Commands first: the stages may use up all that tokio allows a task in one turn.
                biased;
                // The worker asks for a cut, tells of a commit, or takes the partition away.
                command = commands.recv() => match command {
                    None => return Over::Done,
                    Some(Command::Cut(reply)) => {
                        generation.hold();
                        cutting = Some((reply, Instant::now() + self.cx.settings.commit_cut_timeout));
                    }
                    Some(Command::Resolved(resolution)) => {
                        if let Some(error) = self.resolve(resolution) {
                            return Over::Failed(Failure::undelivered(&self.stages, error));
                        }
                    }
                    Some(Command::Drain(deadline, reply)) => {
                        let in_order = self.drain(generation, deadline).await;
                        drop(reply.send(Drained { cut: self.take_cut(generation), in_order }));
                        return Over::Done;
                    }
                },
                // An agent stays in its event: this commit is left out, the event is not cut in two.
                () = at(deadline) => {
                    if let Some((reply, _)) = cutting.take() {
                        self.cx.stats.cut_missed();
                        tracing::warn!(place = %busy_place(generation), "no commit: the agent stayed in an event longer than `commit_cut_timeout`");
                        drop(reply.send(None));
                    }
                    generation.release();
                }
                // The stages run inside this arm; it yields when one of them has something to say.
                news = generation.news(cutting.is_some()) => match news {
                    News::AtRest => {
                        if let Some((reply, _)) = cutting.take() {
                            let cut = self.take_cut(generation);
                            self.answer(reply, cut);
                        }
                        generation.release();
                    }
                    News::Faulted(index, error) => return Over::Failed(self.fault(generation, index, error)),
                    News::Returned(index, returned) => return Over::Failed(self.returned(generation, index, returned)),
                },
            }
        }
    }

    /// Hands a cut over. A commit that was given up meanwhile will not tell what became of it.
    fn answer(&mut self, reply: oneshot::Sender<Option<Cut>>, cut: Option<Cut>) {
        if reply.send(cut).is_err() {
            self.pending = None;
        }
    }

    /// A stage has returned though its stream was open.
    fn returned(&mut self, generation: &Generation, index: usize, returned: Returned) -> Failure {
        let Some(stage) = generation.stages.get(index) else {
            return Failure::start(&self.stages, Error::Misuse("a stage is missing".to_owned()));
        };
        if let Returned::Result(Ok(())) = returned {
            // It finished the event it was in, and what was finished stays so: begin again right there.
            stage.cursor.returned(false);
            self.start = self.positions(generation);
            self.carried.extend(generation.outputs.cut());
        }
        Failure::returned(stage, returned)
    }

    fn fault(&self, generation: &Generation, index: usize, error: Error) -> Failure {
        match generation.stages.get(index) {
            Some(stage) => Failure::fault(stage, error),
            None => Failure::start(&self.stages, error),
        }
    }

    /// Ends the streams and waits for the stages to return; false if the deadline came first.
    async fn drain(&self, generation: &mut Generation, deadline: Instant) -> bool {
        generation.drain();
        while !generation.is_over() {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(deadline) => {
                    tracing::warn!(place = %busy_place(generation), "an agent did not return in time and is dropped; its event will be read again");
                    return false;
                }
                news = generation.news(false) => match news {
                    News::Returned(index, Returned::Result(Ok(()))) => {
                        if let Some(stage) = generation.stages.get(index) {
                            stage.cursor.returned(stage.cursor.has_ended());
                        }
                    }
                    News::Returned(index, returned) => {
                        if let Some(stage) = generation.stages.get(index) {
                            let failure = Failure::returned(stage, returned);
                            tracing::error!(agent = %failure.agent, place = %failure.place, "{} while it was ended; the event will be read again", failure.what());
                        }
                    }
                    News::Faulted(_, error) => tracing::error!("{error}"),
                    News::AtRest => {}
                },
            }
        }
        true
    }

    /// The next generation begins at what is committed.
    fn fall_back(&mut self) {
        self.start = self.committed.clone();
        self.carried.clear();
    }

    fn resolve(&mut self, resolution: Resolution) -> Option<TransportError> {
        let pending = self.pending.take();
        match (resolution, pending) {
            (Resolution::Committed, Some(pending)) => {
                self.committed = pending;
                // Nobody begins before what is committed, whichever of the two moved last.
                self.start.raise_to(&self.committed);
                self.carried.retain(|delivery| !delivery.is_fulfilled());
            }
            (Resolution::Undelivered(error), _) => {
                self.fall_back();
                return Some(error);
            }
            _ => {}
        }
        None
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
                        let cut = self.standing_cut();
                        self.answer(reply, cut);
                    }
                    Some(Command::Resolved(resolution)) => drop(self.resolve(resolution)),
                    Some(Command::Drain(_, reply)) => {
                        drop(reply.send(Drained { cut: self.standing_cut(), in_order: true }));
                        return false;
                    }
                },
                () = at(deadline) => return true,
            }
        }
    }

    async fn pause_until_drained(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) {
        // Whether it ends by a drain or by the worker's end makes no difference.
        while self.pause(Instant::now() + std::time::Duration::from_secs(3600), commands).await {}
    }

    fn set_live(&self, stages: Vec<Arc<LiveStage>>) {
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = stages;
    }
}

fn inputs_of(stage: &Stage, feeds: &[Arc<Feed>]) -> Vec<usize> {
    let reads = |feed: &&Arc<Feed>| stage.reads.contains(&feed.partition().topic);
    feeds.iter().enumerate().filter(|(_, feed)| reads(feed)).map(|(index, _)| index).collect()
}

/// The event of the stage that is inside one, for messages to people.
fn busy_place(generation: &Generation) -> String {
    let busy = generation.stages.iter().find(|stage| !stage.cursor.at_rest());
    busy.map_or_else(|| "between events".to_owned(), |stage| format!("agent `{}` at {}", stage.agent, stage.place()))
}

/// At the deadline, or never.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
