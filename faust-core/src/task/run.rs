//! A run of a task: its stages from one start to the next, started and dropped together.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use super::tables::TaskTables;
use crate::config::Settings;
use crate::error::{BoxError, Error, panic_text};
use crate::message::Offset;
use crate::plan::{PlannedStage, StageRun};
use crate::stage::context::StageMode;
use crate::stage::cursor::Cursor;
use crate::stage::event_clock::EventClock;
use crate::stage::gate::StageControl;
use crate::stage::input::Input;
use crate::stage::outbox::Outbox;
use crate::stage::reader::StageReader;
use crate::stage::running::RunningStage;
use crate::stage::tables::StageTables;
use crate::stage::{AgentCx, window_close};
use crate::time::{Clock, Horizon, Timestamp};

/// The running stages of a task with their shared state.
pub(crate) struct TaskRun {
    running: FuturesUnordered<StageFuture>,
    pub(crate) stages: Vec<Arc<RunningStage>>,
    pub(crate) outbox: Arc<Outbox>,
    control: Arc<StageControl>,
}

/// The future of a stage, which resolves to the stage's index and its result.
type StageFuture = Pin<Box<dyn Future<Output = (usize, Returned)> + Send>>;

/// The result of a stage's function.
pub(crate) enum Returned {
    /// It returned.
    Result(Result<(), BoxError>),
    /// It panicked with this message.
    Panic(String),
}

/// An event of a run.
pub(crate) enum RunEvent {
    /// A stage has returned.
    Returned(usize, Returned),
    /// An operator or decoding has failed in a stage.
    Faulted(usize, Error),
    /// No stage is processing an event.
    AtRest,
}

/// The parts that a run is started with.
pub(crate) struct Start<'a> {
    pub(crate) stages: &'a [PlannedStage],
    /// Inputs of each stage, as indexes into `readers`.
    pub(crate) inputs: &'a [Vec<usize>],
    /// Start offset of each stage in each of its inputs.
    pub(crate) starts: &'a [Vec<Offset>],
    pub(crate) readers: &'a [Arc<StageReader>],
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) settings: &'a Settings,
    /// Stream time of each stage.
    pub(crate) stream_times: &'a [Option<Timestamp>],
    pub(crate) tables: &'a Arc<TaskTables>,
    pub(crate) clock: &'a Clock,
}

impl TaskRun {
    /// Seeks the readers to the stages' start offsets, and starts all stages.
    pub(crate) fn start(start: Start<'_>) -> Result<Self, Error> {
        let subscribers = subscribe_stages(&start)?;
        let control = StageControl::new();
        start.tables.forget_clocks();
        let mut run =
            Self { running: FuturesUnordered::new(), stages: Vec::new(), outbox: Arc::clone(&start.outbox), control };
        for (index, stage) in start.stages.iter().enumerate() {
            let starts = start.starts.get(index).map(Vec::as_slice).unwrap_or_default();
            let stream_time = start.stream_times.get(index).copied().flatten();
            let horizon = Horizon::new(start.clock.clone(), start.settings.stream_time_max_ahead);
            let tables: Vec<_> = stage.tables.iter().filter_map(|name| start.tables.get(name)).cloned().collect();
            let live = Arc::new(RunningStage {
                agent: Arc::clone(&stage.agent),
                depth: stage.depth,
                inputs: subscribers.get(index).cloned().unwrap_or_default(),
                cursor: Cursor::new(Arc::clone(&run.control), starts, EventClock::new(stream_time, horizon)),
                outbox: Arc::clone(&start.outbox),
                on_decode_error: start.settings.on_decode_error,
                buffer_maxsize: start.settings.stream_buffer_maxsize,
                tables: StageTables::new(tables.clone()),
                clock: start.clock.clone(),
                has_reported_ahead: AtomicBool::new(false),
            });
            tables.iter().for_each(|table| table.add_clock(&live.cursor, &live.inputs));
            window_close::start_hooks(&live, &stage.hooks)?;
            let future = begin(stage, &live)?;
            let guarded = AssertUnwindSafe(future).catch_unwind().map(move |ended| match ended {
                Ok(result) => (index, Returned::Result(result)),
                Err(panic) => (index, Returned::Panic(panic_text(&*panic))),
            });
            run.running.push(Box::pin(guarded));
            run.stages.push(live);
        }
        Ok(run)
    }

    /// Polls the stages until the next event. With `holding`, this includes that all stages have come to rest.
    pub(crate) async fn news(&mut self, holding: bool) -> RunEvent {
        std::future::poll_fn(|cx| self.poll_news(holding, cx)).await
    }

    fn poll_news(&mut self, holding: bool, cx: &mut Context<'_>) -> Poll<RunEvent> {
        self.control.register_driver(cx.waker());
        let polled = self.running.poll_next_unpin(cx);
        // IMPORTANT: check for faults first. An agent whose table failed may return as if it had succeeded.
        for (index, stage) in self.stages.iter().enumerate() {
            if let Some(error) = stage.cursor.gate.take_failure() {
                return Poll::Ready(RunEvent::Faulted(index, error));
            }
        }
        if let Poll::Ready(Some((index, returned))) = polled {
            return Poll::Ready(RunEvent::Returned(index, returned));
        }
        if holding && self.is_at_rest() {
            return Poll::Ready(RunEvent::AtRest);
        }
        Poll::Pending
    }

    /// Holds the streams: they yield no events until [`release`](Self::release).
    pub(crate) fn hold(&self) {
        self.control.set_hold(true);
    }

    /// Releases the streams.
    pub(crate) fn release(&self) {
        self.control.set_hold(false);
        self.wake();
    }

    /// Ends the streams.
    pub(crate) fn drain(&self) {
        self.control.set_drain();
        self.control.set_hold(false);
        self.wake();
    }

    /// Returns the number of stages that have not returned.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// Returns `true` if no stage is processing an event.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.stages.iter().all(|stage| stage.cursor.gate.at_rest())
    }

    fn wake(&self) {
        self.stages.iter().for_each(|stage| stage.cursor.gate.wake());
    }
}

impl Drop for TaskRun {
    /// Ends the streams: one that its agent has moved to another Tokio task must not read on after the run.
    fn drop(&mut self) {
        self.drain();
    }
}

/// Subscribes every stage to its readers, and restarts each reader at the lowest start offset of its stages.
fn subscribe_stages(start: &Start<'_>) -> Result<Vec<Vec<Input>>, Error> {
    let mut subscribers: Vec<Vec<Input>> = vec![Vec::new(); start.stages.len()];
    let mut reader_starts: Vec<Vec<Offset>> = vec![Vec::new(); start.readers.len()];
    for ((inputs, starts), subscribers) in start.inputs.iter().zip(start.starts).zip(&mut subscribers) {
        for (&input, &at) in inputs.iter().zip(starts) {
            let (Some(reader), Some(reader_starts)) = (start.readers.get(input), reader_starts.get_mut(input)) else {
                continue;
            };
            subscribers.push(Input { reader: Arc::clone(reader), subscriber: reader_starts.len(), epoch: 0 });
            reader_starts.push(at);
        }
    }
    for (reader, starts) in start.readers.iter().zip(&reader_starts) {
        let epoch = reader.restart(starts)?;
        let inputs = subscribers.iter_mut().flatten().filter(|input| Arc::ptr_eq(&input.reader, reader));
        inputs.for_each(|input| input.epoch = epoch);
    }
    Ok(subscribers)
}

fn begin(stage: &PlannedStage, live: &Arc<RunningStage>) -> Result<crate::stage::AgentFuture, Error> {
    match &stage.run {
        StageRun::Forward(forwarder, to) => forwarder.start(Arc::clone(live), to),
        StageRun::Agent(entry) => {
            let mut cx = AgentCx { agent: &entry.name, sinks: &entry.sinks, mode: StageMode::Live(Arc::clone(live)) };
            let start = entry.def.start;
            // The synchronous part of the function can panic, as well as its future.
            let started = std::panic::catch_unwind(AssertUnwindSafe(|| start(&mut cx)));
            started.unwrap_or_else(|panic| {
                Err(Error::Panicked {
                    place: format!("the start of agent `{}`", entry.name),
                    message: panic_text(&*panic),
                })
            })
        }
    }
}
