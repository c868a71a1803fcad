//! The gate of a stage: whether its stream may yield, and whether the stage is inside an event.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use futures_util::task::AtomicWaker;

use crate::error::Error;

/// The signals of a task to all its stages, and the waker of the task.
#[derive(Debug, Default)]
pub(crate) struct StageControl {
    /// A cut is due: streams yield nothing until it has been taken.
    hold: AtomicBool,
    /// The partition is revoked or the worker stops: streams end.
    drain: AtomicBool,
    /// Wakes the task, which waits for its stages to come to rest.
    driver: AtomicWaker,
}

impl StageControl {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn set_hold(&self, hold: bool) {
        self.hold.store(hold, Ordering::Release);
    }

    pub(crate) fn set_drain(&self) {
        self.drain.store(true, Ordering::Release);
    }

    pub(crate) fn register_driver(&self, waker: &Waker) {
        self.driver.register(waker);
    }
}

/// The answer of a gate to a stream that wants to yield.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Open,
    /// A cut is being taken, or the stage has failed; the waker is registered.
    Held,
    /// The stream ends.
    Drained,
}

/// Decides whether the stream of a stage may yield.
#[derive(Debug)]
pub(crate) struct Gate {
    control: Arc<StageControl>,
    /// An event or a batch is being processed: a cut waits for its end.
    busy: AtomicBool,
    /// An operator has started something asynchronous: a cut waits for its end too.
    in_flight: AtomicBool,
    /// The stage has failed: its stream yields nothing more.
    silent: AtomicBool,
    /// The stream has returned `None`.
    ended: AtomicBool,
    /// The lock is free nearly always: it is taken when a stream waits, is woken, or fails.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A failure of an operator, of decoding or of a table.
    failed: Option<Error>,
    waker: Option<Waker>,
}

impl Gate {
    pub(super) fn new(control: Arc<StageControl>) -> Self {
        Self {
            control,
            busy: AtomicBool::new(false),
            in_flight: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// Returns whether the stream may yield now. In the common case this only reads three flags.
    pub(crate) fn pass(&self, cx: &mut Context<'_>) -> Pass {
        let is_free = !self.is_held() && !self.is_draining();
        if self.silent.load(Ordering::Acquire) {
            return Pass::Held;
        }
        if is_free {
            return Pass::Open;
        }
        if self.is_draining() {
            self.ended.store(true, Ordering::Release);
            return Pass::Drained;
        }
        self.park(cx);
        // The hold may have ended between the check and the registration.
        if self.is_held() || self.is_draining() { Pass::Held } else { Pass::Open }
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

    /// Enters an event: a cut waits for [`exit`](Self::exit).
    pub(super) fn enter(&self) {
        self.busy.store(true, Ordering::Release);
    }

    /// Leaves the current event, if there is one. Returns whether there was.
    pub(super) fn leave(&self) -> bool {
        self.busy.swap(false, Ordering::AcqRel)
    }

    /// Leaves the current event, and wakes the task if a cut waits for that.
    pub(crate) fn exit(&self) {
        if self.leave() && self.is_held() {
            self.control.driver.wake();
        }
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

    /// Returns whether the stage runs nothing that a cut must not interrupt.
    pub(crate) fn at_rest(&self) -> bool {
        !self.is_busy() && !self.is_in_flight()
    }

    /// Returns whether a cut is due.
    pub(crate) fn is_held(&self) -> bool {
        self.control.hold.load(Ordering::Acquire)
    }

    /// Returns whether streams end.
    pub(crate) fn is_draining(&self) -> bool {
        self.control.drain.load(Ordering::Acquire)
    }

    /// Returns whether the stream has returned `None`, so that the agent may return.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Fails the stage: its stream yields nothing more, and the task handles the error.
    pub(crate) fn fail(&self, error: Error) {
        self.silent.store(true, Ordering::Release);
        self.state().failed.get_or_insert(error);
        self.control.driver.wake();
    }

    /// Takes the error of [`fail`](Self::fail).
    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.state().failed.take()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
