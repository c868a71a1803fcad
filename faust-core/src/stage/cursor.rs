//! Where one stage of a task stands: what it was given, what it has finished, and whether it may go on.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::task::AtomicWaker;

use crate::error::Error;
use crate::offsets::OffsetTracker;
use crate::time::Timestamp;

/// What the task tells all its stages, and how they wake it.
#[derive(Debug, Default)]
pub(crate) struct StageControl {
    /// A cut is due: streams yield nothing until it is taken.
    hold: AtomicBool,
    /// The partition goes or the worker stops: streams end.
    drain: AtomicBool,
    /// The task's driver, which waits for its stages to come to rest.
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

/// In the place of a time that there is not.
const NO_TIME: i64 = i64::MIN;

fn time(millis: i64) -> Option<Timestamp> {
    Some(millis).filter(|&millis| millis != NO_TIME).map(Timestamp)
}

/// Whether a stream may yield.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// A cut is being taken; the waker is registered.
    Held,
    /// The stream ends.
    Drained,
}

/// One stage's place in the partitions it reads. Shared by its stream, its events and its task.
#[derive(Debug)]
pub(crate) struct Cursor {
    control: Arc<StageControl>,
    /// One tracker per input. The lock is taken once per event and is free: only this stage and its own events use it,
    /// and the task at a cut.
    state: Mutex<State>,
    /// Whether an event or batch is with the agent: a cut waits until it has come back.
    busy: AtomicBool,
    /// Whether an operator has begun something that takes its time: a cut waits for that too.
    in_flight: AtomicBool,
    /// The stage has failed: its stream stays silent.
    silent: AtomicBool,
    /// The event the stage is in, for error messages and the watch over stuck agents.
    at_input: AtomicU32,
    at_offset: AtomicI64,
    /// The time of the event the stage is in; none in a batch, where it is not clear which event is meant.
    event_time: AtomicI64,
    /// The largest event time the stage has seen. It only grows, and a batch counts when it is finished.
    stream_time: AtomicI64,
    /// An operator has dropped an event: the stage has come past the beginning, though it may never see one.
    has_dropped: AtomicBool,
    /// Counts events begun, so that a watcher sees whether the stage moves.
    begun: AtomicU64,
    /// The stream has said `None`.
    ended: AtomicBool,
}

#[derive(Debug)]
struct State {
    trackers: Vec<OffsetTracker>,
    /// The events of the batch that is with the agent.
    batch: Vec<(u32, i64)>,
    /// The largest time among them.
    batch_time: i64,
    /// Events handed out whose `ack()` is the user's and has not come yet.
    out: BTreeSet<(u32, i64)>,
    /// A fault of an operator or of decoding: the stage has failed, whatever its agent does.
    failed: Option<Error>,
    waker: Option<Waker>,
}

impl State {
    fn finish_batch(&mut self) {
        for (input, offset) in std::mem::take(&mut self.batch) {
            if let Some(tracker) = self.trackers.get_mut(input as usize) {
                tracker.ack(offset);
            }
        }
    }
}

impl Cursor {
    /// Starts before the given offset of each input, with the time that a former owner had seen.
    pub(crate) fn new(control: Arc<StageControl>, starts: &[i64], stream_time: Option<Timestamp>) -> Arc<Self> {
        Arc::new(Self {
            control,
            state: Mutex::new(State {
                trackers: starts.iter().map(|&start| OffsetTracker::new(start)).collect(),
                batch: Vec::new(),
                batch_time: NO_TIME,
                out: BTreeSet::new(),
                failed: None,
                waker: None,
            }),
            busy: AtomicBool::new(false),
            in_flight: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            at_input: AtomicU32::new(0),
            at_offset: AtomicI64::new(-1),
            event_time: AtomicI64::new(NO_TIME),
            stream_time: AtomicI64::new(stream_time.map_or(NO_TIME, |time| time.0)),
            has_dropped: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        })
    }

    /// Whether the stream may yield now. One relaxed look in the common case.
    pub(crate) fn gate(&self, cx: &mut Context<'_>) -> Gate {
        let free = !self.control.hold.load(Ordering::Acquire) && !self.control.drain.load(Ordering::Acquire);
        if self.silent.load(Ordering::Acquire) {
            return Gate::Held;
        }
        if free {
            return Gate::Open;
        }
        if self.control.drain.load(Ordering::Acquire) {
            self.ended.store(true, Ordering::Release);
            return Gate::Drained;
        }
        self.park(cx);
        // The hold may have been lifted between the look and the registration.
        if self.control.hold.load(Ordering::Acquire) || self.control.drain.load(Ordering::Acquire) {
            Gate::Held
        } else {
            Gate::Open
        }
    }

    /// The stream waits: it wants to hear of the end of a hold, and of the end.
    pub(crate) fn park(&self, cx: &mut Context<'_>) {
        self.state().waker = Some(cx.waker().clone());
        // The end may have come between the look and the registration.
        if self.is_draining() {
            cx.waker().wake_by_ref();
        }
    }

    /// Messages have left the queue for this stage.
    pub(crate) fn delivered(&self, input: u32, offsets: impl Iterator<Item = i64>) {
        let mut state = self.state();
        if let Some(tracker) = state.trackers.get_mut(input as usize) {
            offsets.for_each(|offset| tracker.deliver(offset));
        }
    }

    /// The stage is now inside this event: a cut waits for [`finish`](Self::finish).
    pub(crate) fn begin(&self, input: u32, offset: i64, timestamp: Timestamp) {
        self.passed(input, offset, timestamp);
        self.busy.store(true, Ordering::Release);
    }

    /// The stage has come to this event, which is somebody else's to finish.
    pub(crate) fn passed(&self, input: u32, offset: i64, timestamp: Timestamp) {
        self.at_input.store(input, Ordering::Relaxed);
        self.at_offset.store(offset, Ordering::Relaxed);
        // The stream alone writes it, so it needs no read-modify-write.
        self.begun.store(self.begun() + 1, Ordering::Relaxed);
        self.event_time.store(timestamp.0, Ordering::Relaxed);
        self.observe(timestamp.0);
    }

    /// Event time only grows.
    fn observe(&self, millis: i64) {
        if millis > self.stream_time.load(Ordering::Relaxed) {
            self.stream_time.store(millis, Ordering::Relaxed);
        }
    }

    /// The largest event time the stage has seen.
    pub(crate) fn stream_time(&self) -> Option<Timestamp> {
        time(self.stream_time.load(Ordering::Relaxed))
    }

    /// The time of the event the stage is in, if it is in one.
    pub(crate) fn event_time(&self) -> Option<Timestamp> {
        time(self.event_time.load(Ordering::Relaxed)).filter(|_| self.is_busy())
    }

    /// Whether an event or a batch is with the agent.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// The stage has finished the event it was in.
    pub(crate) fn finish(&self, input: u32, offset: i64) {
        self.ack(input, offset);
        self.exit();
    }

    /// The stage is now inside this batch: a cut waits for [`finish_batch`](Self::finish_batch).
    pub(crate) fn begin_batch(&self, batch: impl Iterator<Item = (u32, i64, Timestamp)>) {
        let mut state = self.state();
        let mut latest = NO_TIME;
        state.batch = batch
            .inspect(|&(_, _, timestamp)| latest = latest.max(timestamp.0))
            .map(|(input, offset, _)| (input, offset))
            .collect();
        state.batch_time = latest;
        let first = state.batch.first().copied();
        drop(state);
        if let Some((input, offset)) = first {
            self.begin(input, offset, Timestamp(NO_TIME));
        }
    }

    /// The stage is done with the batch it was in, and has yet to [`finish`](Self::finish_batch) it.
    pub(crate) fn pass_batch(&self) {
        let latest = std::mem::replace(&mut self.state().batch_time, NO_TIME);
        self.observe(latest);
    }

    /// The stage has finished the batch it was in.
    pub(crate) fn finish_batch(&self) {
        self.pass_batch();
        self.state().finish_batch();
        self.exit();
    }

    /// An operator begins something that takes its time.
    pub(crate) fn begin_flight(&self) {
        self.in_flight.store(true, Ordering::Release);
    }

    /// It has ended; its event goes on in the same poll.
    pub(crate) fn end_flight(&self) {
        if self.in_flight.swap(false, Ordering::AcqRel) && self.control.hold.load(Ordering::Acquire) {
            self.control.driver.wake();
        }
    }

    /// Whether an operator, or the closing of windows, has begun something and not ended it.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Whether a cut is due.
    pub(crate) fn is_held(&self) -> bool {
        self.control.hold.load(Ordering::Acquire)
    }

    /// Whether streams end.
    pub(crate) fn is_draining(&self) -> bool {
        self.control.drain.load(Ordering::Acquire)
    }

    /// The stage is between events.
    pub(crate) fn exit(&self) {
        if self.busy.swap(false, Ordering::AcqRel) && self.control.hold.load(Ordering::Acquire) {
            self.control.driver.wake();
        }
    }

    /// An event is finished, in any order.
    pub(crate) fn ack(&self, input: u32, offset: i64) {
        if let Some(tracker) = self.state().trackers.get_mut(input as usize) {
            tracker.ack(offset);
        }
    }

    /// An operator will not pass this event on.
    pub(crate) fn drop_event(&self, input: u32, offset: i64) {
        self.has_dropped.store(true, Ordering::Relaxed);
        self.ack(input, offset);
    }

    /// Whether an operator has dropped an event.
    pub(crate) fn has_dropped(&self) -> bool {
        self.has_dropped.load(Ordering::Relaxed)
    }

    /// An event is handed out whose `ack()` is the user's.
    pub(crate) fn hand_out(&self, input: u32, offset: i64) {
        self.state().out.insert((input, offset));
    }

    /// That `ack()` has come: one more may be handed out.
    pub(crate) fn take_back(&self, input: u32, offset: i64) {
        let mut state = self.state();
        if state.out.remove(&(input, offset))
            && let Some(tracker) = state.trackers.get_mut(input as usize)
        {
            tracker.ack(offset);
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Pending while `limit` events are out.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>, limit: usize) -> Poll<()> {
        let mut state = self.state();
        if state.out.len() < limit {
            return Poll::Ready(());
        }
        if state.waker.is_none() {
            tracing::warn!(
                "{limit} events are out without an ack: the stream waits for one. An event that was dropped without its \
                 `ack()` counts until the next start"
            );
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Nothing runs that a cut must not fall into.
    pub(crate) fn at_rest(&self) -> bool {
        !self.busy.load(Ordering::Acquire) && !self.in_flight.load(Ordering::Acquire)
    }

    /// The stage cannot go on. Its stream stays silent; the task takes it from here.
    pub(crate) fn fail(&self, error: Error) {
        self.silent.store(true, Ordering::Release);
        self.state().failed.get_or_insert(error);
        self.control.driver.wake();
    }

    /// The fault of [`fail`](Self::fail), once.
    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.state().failed.take()
    }

    /// Whether the stream has said `None`, so that a return is no surprise.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The agent has returned well: the event it was in is finished, and with `ended` every event it holds.
    pub(crate) fn returned(&self, ended: bool) {
        self.pass_batch();
        let (input, offset) = self.at();
        let mut state = self.state();
        if self.busy.swap(false, Ordering::AcqRel) {
            state.finish_batch();
            if let Some(tracker) = state.trackers.get_mut(input as usize) {
                tracker.ack(offset);
            }
        }
        if ended {
            for (input, offset) in std::mem::take(&mut state.out) {
                if let Some(tracker) = state.trackers.get_mut(input as usize) {
                    tracker.ack(offset);
                }
            }
        }
    }

    /// The next offset of each input: the first that is not finished.
    pub(crate) fn next_offsets(&self) -> Vec<i64> {
        self.state().trackers.iter().map(OffsetTracker::next).collect()
    }

    /// Whether everything delivered is finished, and how far that is, for each input.
    pub(crate) fn settled(&self) -> Option<Vec<i64>> {
        let state = self.state();
        let all = state.trackers.iter().all(|tracker| tracker.next() == tracker.position());
        all.then(|| state.trackers.iter().map(OffsetTracker::position).collect())
    }

    /// Input and offset of the event the stage is or was last in.
    pub(crate) fn at(&self) -> (u32, i64) {
        (self.at_input.load(Ordering::Relaxed), self.at_offset.load(Ordering::Relaxed))
    }

    /// How many events were begun.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Lets a held stream look again.
    pub(crate) fn wake(&self) {
        let waker = self.state().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
