//! The progress of a stage in its inputs: what it was given, and what it has finished.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::message::Offset;
use crate::offsets::{OffsetTracker, Position};
use crate::time::Timestamp;

/// Tracks delivered and finished events of a stage, for each of its inputs.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The lock is taken once per event and is free: only the stage and its own events use it, and the task at a cut.
    state: Mutex<State>,
    /// The event that the stage has come to last. One thread writes it; error messages and the watch for stuck agents read.
    at_input: AtomicU32,
    at_offset: AtomicI64,
    /// Number of events begun.
    begun: AtomicU64,
    /// An operator has dropped an event: the stage is past its start, though it may never see an event.
    has_dropped: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// One tracker per input.
    trackers: Vec<OffsetTracker>,
    /// The events of the batch that is being processed.
    batch: Vec<Position>,
    /// The greatest time among them that stream time follows.
    batch_time: Option<Timestamp>,
    /// Events handed out that wait for the `ack()` of the user.
    handed_out: BTreeSet<Position>,
}

/// Stands for the offset before the first event.
const NOWHERE: i64 = -1;

impl State {
    fn ack(&mut self, at: Position) {
        if let Some(tracker) = self.trackers.get_mut(at.input as usize) {
            tracker.ack(at.offset);
        }
    }

    fn finish_batch(&mut self) {
        for at in std::mem::take(&mut self.batch) {
            self.ack(at);
        }
    }
}

impl Progress {
    /// Starts before the given offset of each input.
    pub(super) fn new(starts: &[Offset]) -> Self {
        Self {
            state: Mutex::new(State {
                trackers: starts.iter().map(|&start| OffsetTracker::new(start)).collect(),
                batch: Vec::new(),
                batch_time: None,
                handed_out: BTreeSet::new(),
            }),
            at_input: AtomicU32::new(0),
            at_offset: AtomicI64::new(NOWHERE),
            begun: AtomicU64::new(0),
            has_dropped: AtomicBool::new(false),
        }
    }

    /// Notes messages that have left the queue for this stage.
    pub(crate) fn delivered(&self, input: u32, offsets: impl Iterator<Item = Offset>) {
        let mut state = self.state();
        if let Some(tracker) = state.trackers.get_mut(input as usize) {
            offsets.for_each(|offset| tracker.deliver(offset));
        }
    }

    /// Notes that no messages for this stage come before `end`.
    pub(crate) fn reached(&self, input: u32, end: Offset) {
        if let Some(tracker) = self.state().trackers.get_mut(input as usize) {
            tracker.skip_to(end);
        }
    }

    /// Notes the event that the stage has come to. Its operators see it first.
    #[inline]
    pub(super) fn reach(&self, at: Position) {
        self.at_input.store(at.input, Ordering::Relaxed);
        self.at_offset.store(at.offset.0, Ordering::Relaxed);
    }

    /// Notes that the agent begins the event that the stage has come to.
    pub(super) fn begin(&self) {
        // Only the stream writes this counter, so no read-modify-write is needed.
        self.begun.store(self.begun() + 1, Ordering::Relaxed);
    }

    /// Returns the event that the stage has come to last, if there is one.
    pub(crate) fn at(&self) -> Option<Position> {
        let (input, offset) = (self.at_input.load(Ordering::Relaxed), self.at_offset.load(Ordering::Relaxed));
        (offset > NOWHERE).then_some(Position { input, offset: Offset(offset) })
    }

    /// Returns the events that the stage has come to and not finished: those of the batch, or those that the user has not
    /// acked, or else the last one.
    pub(crate) fn unfinished(&self) -> Vec<Position> {
        let at = self.at();
        let state = self.state();
        if !state.batch.is_empty() {
            return state.batch.clone();
        }
        if !state.handed_out.is_empty() {
            return state.handed_out.iter().copied().collect();
        }
        let is_open = |at: &Position| state.trackers.get(at.input as usize).is_some_and(|t| at.offset >= t.next());
        at.filter(is_open).into_iter().collect()
    }

    /// Returns the number of events begun.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Finishes an event. Events may be finished in any order.
    pub(crate) fn ack(&self, at: Position) {
        self.state().ack(at);
    }

    /// Finishes an event that an operator does not pass on.
    pub(crate) fn drop_event(&self, at: Position) {
        self.has_dropped.store(true, Ordering::Relaxed);
        self.ack(at);
    }

    /// Returns whether an operator has dropped an event.
    pub(crate) fn has_dropped(&self) -> bool {
        self.has_dropped.load(Ordering::Relaxed)
    }

    /// Notes the batch that is being processed, with the times that stream time follows. Returns its first event.
    pub(super) fn begin_batch(&self, batch: impl Iterator<Item = (Position, Option<Timestamp>)>) -> Option<Position> {
        let mut state = self.state();
        let mut latest = None;
        state.batch = batch.inspect(|&(_, time)| latest = latest.max(time)).map(|(at, _)| at).collect();
        state.batch_time = latest;
        state.batch.first().copied()
    }

    /// Takes the greatest time of the batch.
    pub(super) fn take_batch_time(&self) -> Option<Timestamp> {
        self.state().batch_time.take()
    }

    /// Finishes the events of the batch.
    pub(super) fn finish_batch(&self) {
        self.state().finish_batch();
    }

    /// Hands an event out that is finished by its own `ack()`.
    pub(crate) fn hand_out(&self, at: Position) {
        self.state().handed_out.insert(at);
    }

    /// Finishes an event that was handed out.
    pub(super) fn take_back(&self, at: Position) {
        let mut state = self.state();
        if state.handed_out.remove(&at) {
            state.ack(at);
        }
    }

    /// Returns `then()` while at least `limit` events are handed out. No event is taken back meanwhile.
    pub(super) fn while_full<R>(&self, limit: usize, then: impl FnOnce() -> R) -> Option<R> {
        let state = self.state();
        (state.handed_out.len() >= limit).then(then)
    }

    /// Finishes the current event or batch.
    pub(super) fn finish_current(&self) {
        let at = self.at();
        let mut state = self.state();
        state.finish_batch();
        if let Some(at) = at {
            state.ack(at);
        }
    }

    /// Finishes every event that is handed out.
    pub(super) fn finish_handed_out(&self) {
        let mut state = self.state();
        for at in std::mem::take(&mut state.handed_out) {
            state.ack(at);
        }
    }

    /// Returns the next offset of each input: that of the first event that is not finished.
    pub(crate) fn next_offsets(&self) -> Vec<Offset> {
        self.state().trackers.iter().map(OffsetTracker::next).collect()
    }

    /// Returns the position in each input, if everything delivered is finished.
    pub(crate) fn settled(&self) -> Option<Vec<Offset>> {
        let state = self.state();
        let all = state.trackers.iter().all(|tracker| tracker.next() == tracker.position());
        all.then(|| state.trackers.iter().map(OffsetTracker::position).collect())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
