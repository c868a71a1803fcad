//! A run of a group: its stages from one start to the next, started and dropped together.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use super::cut::Resolution;
use super::failure::Returned;
use super::failure_history::FailureHistory;
use super::log_change::FoundLogs;
use super::positions::{InputLogs, Positions};
use super::tables::TaskTables;
use crate::config::Settings;
use crate::error::{Error, TransportError, panic_text};
use crate::plan::{PlannedStage, StageRun};
use crate::stage::context::StageMode;
use crate::stage::cursor::Cursor;
use crate::stage::event_clock::EventClock;
use crate::stage::gate::{GroupControl, Hold, StageFault};
use crate::stage::input::{GroupInput, Input};
use crate::stage::observer::StageObserver;
use crate::stage::outbox::Outbox;
use crate::stage::running::RunningStage;
use crate::stage::tables::StageTables;
use crate::stage::{AgentCx, window_close};
use crate::time::{Clock, Horizon};

/// The running stages of a group with their shared state.
pub(crate) struct GroupRun {
    running: FuturesUnordered<StageFuture>,
    pub(super) stages: Vec<Arc<RunningStage>>,
    pub(super) outbox: Arc<Outbox>,
    control: Arc<GroupControl>,
    /// The log of each input, which is the same until the run ends.
    logs: InputLogs,
    /// A seal is due: the streams are held, and the end of the current event is reported.
    is_seal_due: bool,
}

/// The future of a stage, which resolves to the stage's index and its result.
type StageFuture = Pin<Box<dyn Future<Output = (usize, Returned)> + Send>>;

/// An event of a run.
pub(crate) enum RunEvent {
    /// A stage has returned.
    Returned(usize, Returned),
    /// An operator or decoding has failed in a stage.
    Faulted(usize, StageFault),
    /// A seal is due, and no stage is processing an event.
    AtRest,
    /// The commit of the task's last cut has ended.
    Resolved(Resolution),
    /// The logs of a group were looked up, which had come to a position that is not in them any more.
    LogsFound(Result<FoundLogs, TransportError>),
}

/// The parts that a run is started with.
pub(crate) struct Start<'a> {
    pub(crate) stages: &'a [PlannedStage],
    /// Inputs of each stage.
    pub(crate) inputs: &'a [Vec<GroupInput>],
    /// Start of each stage in each of its inputs, with its stream time.
    pub(crate) positions: &'a Positions,
    /// The failures of the group since its last commit.
    pub(super) failures: &'a FailureHistory,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) settings: &'a Settings,
    pub(crate) tables: &'a Arc<TaskTables>,
    pub(crate) clock: &'a Clock,
    /// The test driver's observer.
    pub(crate) observer: &'a Option<Arc<dyn StageObserver>>,
}

impl GroupRun {
    /// Starts the readers' subscribers at the stages' start offsets, and starts all stages.
    pub(crate) fn start(start: Start<'_>) -> Result<Self, Error> {
        start.tables.forget_clocks();
        let mut run = Self {
            running: FuturesUnordered::new(),
            stages: Vec::new(),
            outbox: Arc::clone(&start.outbox),
            control: GroupControl::new(start.stages.len()),
            logs: Arc::clone(&start.positions.logs),
            is_seal_due: false,
        };
        run.note_senders(start.failures.notes_senders());
        for (index, (stage, inputs)) in start.stages.iter().zip(start.inputs).enumerate() {
            let starts = start.positions.stages.get(index).map(Vec::as_slice).unwrap_or_default();
            let stream_time = start.positions.times.get(index).copied().flatten();
            let horizon = Horizon::new(start.clock.clone(), start.settings.stream_time_max_ahead);
            let tables: Vec<_> = stage.tables.iter().filter_map(|name| start.tables.get(name)).cloned().collect();
            let failed = start.failures.of_stage(index);
            let given_up = failed.filter_map(|(at, given_up)| Some((at, given_up?.clone()))).collect();
            let failed = start.failures.of_stage(index).map(|(at, _)| at).collect();
            let live = Arc::new(RunningStage {
                agent: Arc::clone(&stage.agent),
                depth: stage.depth,
                inputs: inputs.iter().zip(starts).map(|(input, at)| input.start(*at)).collect(),
                cursor: Cursor::new(
                    (Arc::clone(&run.control), index),
                    starts,
                    EventClock::new(stream_time, horizon),
                    failed,
                ),
                outbox: Arc::clone(&start.outbox),
                on_decode_error: start.settings.on_decode_error,
                given_up,
                buffer_maxsize: start.settings.stream_buffer_maxsize,
                tables: StageTables::new(tables.clone()),
                clock: start.clock.clone(),
                has_reported_ahead: AtomicBool::new(false),
                observer: start.observer.clone(),
            });
            // From here on, the end of the run stops the subscribers.
            run.stages.push(Arc::clone(&live));
            tables.iter().for_each(|table| table.add_clock(&live.cursor, &live.inputs));
            window_close::start_hooks(&live, &stage.hooks)?;
            let future = begin(stage, &live)?;
            let guarded = AssertUnwindSafe(future).catch_unwind().map(move |ended| match ended {
                Ok(result) => (index, Returned::Result(result)),
                Err(panic) => (index, Returned::Panic(panic_text(&*panic))),
            });
            run.running.push(Box::pin(guarded));
        }
        if let Some(staging) = &run.outbox.staging {
            staging.follow(run.stages.iter().map(|stage| Arc::clone(&stage.cursor)).collect());
        }
        Ok(run)
    }

    /// Polls the stages for the next event.
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<RunEvent> {
        self.control.register_driver(cx.waker());
        let Self { control, running, .. } = self;
        let polled = control.while_polled(|| running.poll_next_unpin(cx));
        // IMPORTANT: check for faults first. An agent whose table failed may return as if it had succeeded.
        for (index, stage) in self.stages.iter().enumerate() {
            if let Some(fault) = stage.cursor.gate.take_failure() {
                return Poll::Ready(RunEvent::Faulted(index, fault));
            }
        }
        if let Poll::Ready(Some((index, returned))) = polled {
            return Poll::Ready(RunEvent::Returned(index, returned));
        }
        if self.control.wants_seal() {
            self.demand_seal();
        }
        if self.is_seal_due && self.is_at_rest() {
            return Poll::Ready(RunEvent::AtRest);
        }
        Poll::Pending
    }

    /// Holds the streams until a seal is taken, which [`RunEvent::AtRest`] asks for.
    pub(crate) fn demand_seal(&mut self) {
        self.is_seal_due = true;
        self.control.set_hold(Hold::Seal, true);
    }

    /// Releases the streams after a seal.
    pub(crate) fn sealed(&mut self) {
        self.stages.iter().for_each(|stage| stage.cursor.gate.sealed());
        if std::mem::take(&mut self.is_seal_due) {
            self.hold(Hold::Seal, false);
        }
    }

    /// Holds or releases the streams: while they are held, they yield no events.
    pub(crate) fn hold(&self, hold: Hold, holds: bool) {
        self.control.set_hold(hold, holds);
        if !holds {
            self.wake();
        }
    }

    /// Returns whether the streams are held for this reason.
    pub(super) fn is_held(&self, hold: Hold) -> bool {
        self.control.is_held(hold)
    }

    /// Sets whether the event that sends a message is noted.
    pub(super) fn note_senders(&self, notes: bool) {
        self.control.set_notes_senders(notes);
    }

    /// Ends the streams.
    pub(crate) fn drain(&self) {
        self.control.set_drain();
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

    /// Returns the next offsets and stream times of the stages.
    pub(super) fn positions(&self) -> Positions {
        let stages = self.stages.iter().map(|stage| stage.cursor.progress.next_offsets()).collect();
        let times = self.stages.iter().map(|stage| stage.cursor.clock.stream_time()).collect();
        Positions { stages, times, logs: Arc::clone(&self.logs) }
    }

    fn wake(&self) {
        self.stages.iter().for_each(|stage| stage.cursor.gate.wake());
    }
}

impl Drop for GroupRun {
    /// Ends the streams, and stops reading for them.
    fn drop(&mut self) {
        self.drain();
        self.stages.iter().flat_map(|stage| &stage.inputs).for_each(Input::stop);
    }
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
