//! The gate of a stage: whether its stream may yield, and whether the stage is inside an event.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use futures_util::task::AtomicWaker;

use super::turns::Turns;
use crate::error::Error;
use crate::offsets::Position;

/// The signals of a task to the stages of one group, and the waker of the task.
#[derive(Debug, Default)]
pub(crate) struct GroupControl {
    /// Reasons for which streams yield nothing, as bits of [`Hold`], and [`DRAIN`].
    signals: AtomicU8,
    /// A stage is about to begin an event that has failed before: a seal comes first.
    wants_seal: AtomicBool,
    /// The event that sends a message is noted, because a message was refused.
    notes_senders: AtomicBool,
    /// Wakes the task, which waits for its stages to come to rest.
    driver: AtomicWaker,
    /// The turns of a group of several stages.
    turns: Option<Turns>,
}

/// A reason for which streams yield nothing.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Hold {
    /// A seal is due.
    Seal = 1,
    /// The stores have too large a backlog.
    Stores = 2,
    /// The tables have too many changes since a commit that takes long began.
    Changes = 4,
    /// The memory for messages that wait for a commit is in use.
    Outputs = 8,
}

/// The signal to end: the partition is revoked, or the worker stops.
const DRAIN: u8 = 0x80;

thread_local! {
    /// The group whose stages are being polled on this thread.
    static POLLED: Cell<*const GroupControl> = const { Cell::new(std::ptr::null()) };
}

impl GroupControl {
    pub(crate) fn new(stages: usize) -> Arc<Self> {
        Arc::new(Self { turns: (stages > 1).then(Turns::default), ..Self::default() })
    }

    pub(crate) fn set_hold(&self, hold: Hold, holds: bool) {
        if holds {
            self.signals.fetch_or(hold as u8, Ordering::AcqRel);
        } else {
            self.signals.fetch_and(!(hold as u8), Ordering::AcqRel);
        }
    }

    /// Returns whether streams yield nothing for this reason.
    pub(crate) fn is_held(&self, hold: Hold) -> bool {
        self.signals.load(Ordering::Acquire) & hold as u8 != 0
    }

    pub(crate) fn set_notes_senders(&self, notes: bool) {
        self.notes_senders.store(notes, Ordering::Relaxed);
    }

    pub(crate) fn set_drain(&self) {
        self.signals.fetch_or(DRAIN, Ordering::AcqRel);
    }

    pub(crate) fn register_driver(&self, waker: &Waker) {
        self.driver.register(waker);
    }

    /// Returns whether a stage waits for a seal before it begins its next event.
    pub(crate) fn wants_seal(&self) -> bool {
        self.wants_seal.load(Ordering::Acquire)
    }

    /// Polls stages of this group: only meanwhile may their streams be read.
    pub(crate) fn while_polled<R>(self: &Arc<Self>, poll: impl FnOnce() -> R) -> R {
        /// Resets the group also if the poll panics.
        struct Reset(*const GroupControl);
        impl Drop for Reset {
            fn drop(&mut self) {
                POLLED.set(self.0);
            }
        }
        let _reset = Reset(POLLED.replace(Arc::as_ptr(self)));
        poll()
    }
}

/// The error of a stream that another Tokio task reads.
pub(super) const READ_ELSEWHERE: &str = "its stream is read in another Tokio task; read it in the agent, and spawn only the work of an event, with `events()` and an `ack()` at its end";

/// The answer of a gate to a stream that is about to yield.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Open,
    /// The stream waits; its waker is registered unless the stage has failed.
    Held,
    /// The stream ends.
    Drained,
}

/// Decides whether the stream of a stage may yield.
#[derive(Debug)]
pub(crate) struct Gate {
    control: Arc<GroupControl>,
    /// Index of the stage in its group.
    stage: usize,
    /// The stage has the turn of its group. Always set for the only stage of a group.
    has_turn: AtomicBool,
    /// An event or a batch is being processed: a seal waits for its end.
    busy: AtomicBool,
    /// An operator has started something asynchronous: a seal waits for its end too.
    in_flight: AtomicBool,
    /// The stage has failed: its stream yields nothing more.
    silent: AtomicBool,
    /// The stream has returned `None`.
    ended: AtomicBool,
    /// There are events in `State::failed_events`.
    has_failed_events: AtomicBool,
    /// The lock is free nearly always: it is taken when a stream waits, is woken, or fails.
    state: Mutex<State>,
}

/// A fault of an operator, of decoding or of a table.
#[derive(Debug)]
pub(crate) struct StageFault {
    pub(crate) error: Error,
    /// The events that were unfinished when it occurred. The agent may finish them before the fault is noticed.
    pub(crate) events: Vec<Position>,
}

#[derive(Debug, Default)]
struct State {
    /// A failure of an operator, of decoding or of a table.
    failed: Option<StageFault>,
    waker: Option<Waker>,
    /// Events that have failed before. Each waits for a seal.
    failed_events: BTreeSet<Position>,
    /// The one of them that waits for a seal now.
    waiting: Option<Position>,
}

impl Gate {
    pub(super) fn new(control: Arc<GroupControl>, stage: usize, failed_events: BTreeSet<Position>) -> Self {
        Self {
            has_turn: AtomicBool::new(control.turns.is_none()),
            has_failed_events: AtomicBool::new(!failed_events.is_empty()),
            control,
            stage,
            busy: AtomicBool::new(false),
            in_flight: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            state: Mutex::new(State { failed_events, ..State::default() }),
        }
    }

    /// Returns whether the stream may yield now.
    #[inline]
    pub(crate) fn pass(&self, cx: &mut Context<'_>) -> Pass {
        let is_free = self.signals() == 0;
        let is_polled = std::ptr::eq(POLLED.get(), Arc::as_ptr(&self.control));
        // The common case only reads.
        if is_free && is_polled && self.has_turn.load(Ordering::Relaxed) && !self.silent.load(Ordering::Acquire) {
            return Pass::Open;
        }
        self.pass_or_wait(is_free, is_polled, cx)
    }

    #[inline(never)] // Keeps the common case small.
    fn pass_or_wait(&self, is_free: bool, is_polled: bool, cx: &mut Context<'_>) -> Pass {
        if !is_polled {
            return self.refuse();
        }
        if self.silent.load(Ordering::Acquire) {
            return Pass::Held;
        }
        if is_free {
            return if self.take_turn(cx) { Pass::Open } else { Pass::Held };
        }
        if self.is_draining() {
            self.ended.store(true, Ordering::Release);
            return Pass::Drained;
        }
        self.park(cx);
        Pass::Held
    }

    /// Refuses a stream that another Tokio task reads: a seal could be taken in the middle of its event.
    #[cold]
    fn refuse(&self) -> Pass {
        if self.is_draining() {
            self.ended.store(true, Ordering::Release);
            return Pass::Drained;
        }
        self.fail(StageFault { error: Error::Misuse(READ_ELSEWHERE.to_owned()), events: Vec::new() });
        Pass::Held
    }

    /// Takes the turn of the group, which lasts until [`rest`](Self::rest) or [`exit`](Self::exit). Otherwise the waker is
    /// registered.
    pub(crate) fn take_turn(&self, cx: &mut Context<'_>) -> bool {
        if self.has_turn.load(Ordering::Relaxed) {
            return true;
        }
        let Some(turns) = &self.control.turns else { return true };
        let is_mine = turns.take(self.stage, cx.waker());
        self.has_turn.store(is_mine, Ordering::Relaxed);
        if !is_mine {
            // A drain ends the wait.
            self.park(cx);
        }
        is_mine
    }

    /// Ends the stage's turn, if it has one and is not inside an event.
    pub(crate) fn end_turn(&self) {
        if let Some(turns) = &self.control.turns
            && self.at_rest()
            && self.has_turn.swap(false, Ordering::Relaxed)
        {
            turns.end(self.stage);
        }
    }

    /// Returns the index of the stage in its group, if the events that send messages are noted.
    pub(super) fn notes_senders(&self) -> Option<usize> {
        self.control.notes_senders.load(Ordering::Relaxed).then_some(self.stage)
    }

    /// Returns whether the stream waits for a seal before an event that has failed before.
    pub(crate) fn is_waiting_for_seal(&self) -> bool {
        self.has_failed_events() && self.state().waiting.is_some()
    }

    /// Returns whether there are events that have failed before.
    pub(crate) fn has_failed_events(&self) -> bool {
        self.has_failed_events.load(Ordering::Relaxed)
    }

    /// Returns whether a seal must come before this event, since it has failed before. The waker is registered.
    #[cold]
    pub(crate) fn waits_for_seal(&self, at: Position, cx: &mut Context<'_>) -> bool {
        let mut state = self.state();
        if !state.failed_events.contains(&at) {
            return false;
        }
        state.waiting = Some(at);
        state.waker = Some(cx.waker().clone());
        drop(state);
        self.control.wants_seal.store(true, Ordering::Release);
        self.control.driver.wake();
        true
    }

    /// Lets the event begin that waits for a seal, which has been taken.
    pub(crate) fn sealed(&self) {
        self.control.wants_seal.store(false, Ordering::Release);
        if !self.has_failed_events.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state();
        if let Some(at) = state.waiting.take() {
            state.failed_events.remove(&at);
            self.has_failed_events.store(!state.failed_events.is_empty(), Ordering::Relaxed);
        }
    }

    /// Registers a stream that has nothing to yield, and ends the stage's turn.
    pub(crate) fn rest(&self, cx: &mut Context<'_>) {
        self.park(cx);
        self.end_turn();
    }

    /// Registers a stream that waits, so that the end of a hold or a drain wakes it.
    pub(crate) fn park(&self, cx: &mut Context<'_>) {
        self.state().waker = Some(cx.waker().clone());
        // The drain may have begun between the check and the registration.
        if self.is_draining() {
            cx.waker().wake_by_ref();
        }
    }

    /// Registers a stream like [`park`](Self::park). Returns whether none was registered before.
    pub(super) fn wait(&self, cx: &mut Context<'_>) -> bool {
        self.state().waker.replace(cx.waker().clone()).is_none()
    }

    /// Wakes a stream that waits.
    pub(crate) fn wake(&self) {
        let waker = self.state().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Enters an event: a seal waits for [`exit`](Self::exit).
    pub(super) fn enter(&self) {
        self.busy.store(true, Ordering::Release);
    }

    /// Leaves the current event, if there is one. Returns whether there was.
    pub(super) fn leave(&self) -> bool {
        self.busy.swap(false, Ordering::AcqRel)
    }

    /// Leaves the current event, and wakes the task if a seal waits for that. The stage's turn ends.
    pub(crate) fn exit(&self) {
        if self.leave() && self.is_held() {
            self.control.driver.wake();
        }
        self.end_turn();
    }

    /// Holds the streams of the group until a commit has freed memory for messages.
    pub(crate) fn hold_outputs(&self) {
        self.control.set_hold(Hold::Outputs, true);
    }

    /// Returns whether an event or a batch is being processed.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// Notes that an operator has started something asynchronous.
    pub(crate) fn begin_flight(&self) {
        self.in_flight.store(true, Ordering::Release);
    }

    /// Notes its end; its event continues in the same poll.
    pub(crate) fn end_flight(&self) {
        if self.in_flight.swap(false, Ordering::AcqRel) && self.is_held() {
            self.control.driver.wake();
        }
    }

    /// Returns whether an operator, or the closing of windows, has started something that has not ended.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Returns whether the stage runs nothing that a seal must not interrupt.
    pub(crate) fn at_rest(&self) -> bool {
        !self.is_busy() && !self.is_in_flight()
    }

    /// Returns whether streams yield nothing for now.
    pub(crate) fn is_held(&self) -> bool {
        self.signals() & !DRAIN != 0
    }

    /// Returns whether streams end.
    pub(crate) fn is_draining(&self) -> bool {
        self.signals() & DRAIN != 0
    }

    fn signals(&self) -> u8 {
        self.control.signals.load(Ordering::Acquire)
    }

    /// Returns whether the stream has returned `None`, so that the agent may return.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Fails the stage: its stream yields nothing more, and the task handles the first fault.
    pub(super) fn fail(&self, fault: StageFault) {
        self.silent.store(true, Ordering::Release);
        self.state().failed.get_or_insert(fault);
        self.control.driver.wake();
    }

    /// Takes the fault of [`fail`](Self::fail).
    pub(crate) fn take_failure(&self) -> Option<StageFault> {
        // Asked after every poll of the stages.
        if self.silent.load(Ordering::Acquire) { self.state().failed.take() } else { None }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
