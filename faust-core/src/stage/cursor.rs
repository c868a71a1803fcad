//! The cursor of a stage: its progress, its gate and its event clock, moved together from event to event.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::event_clock::EventClock;
use super::gate::{Gate, GroupControl, StageFault};
use super::progress::Progress;
use crate::error::Error;
use crate::message::Offset;
use crate::offsets::Position;
use crate::time::Timestamp;

/// The position of one stage in the partitions it reads. Shared by its stream, its events and its task.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) progress: Progress,
    pub(crate) gate: Gate,
    pub(crate) clock: EventClock,
}

impl Cursor {
    /// Starts before the given offset of each input. `stage` is the stage's index in its group, and `failed_events` are those
    /// of its events that have failed since the last seal.
    pub(crate) fn new(
        (control, stage): (Arc<GroupControl>, usize),
        starts: &[Offset],
        clock: EventClock,
        failed_events: BTreeSet<Position>,
    ) -> Arc<Self> {
        Arc::new(Self { progress: Progress::new(starts), gate: Gate::new(control, stage, failed_events), clock })
    }

    /// Enters the event that the stage has come to: a seal waits for [`finish`](Self::finish). Returns `true` if stream time does
    /// not follow it.
    #[must_use]
    pub(super) fn begin(&self, timestamp: Timestamp) -> bool {
        let is_held_back = self.pass(timestamp);
        self.gate.enter();
        is_held_back
    }

    /// Moves to an event that is finished by its own `ack()`. Returns `true` if stream time does not follow it.
    #[must_use]
    pub(super) fn pass(&self, timestamp: Timestamp) -> bool {
        self.progress.begin();
        self.clock.begin(timestamp)
    }

    /// Finishes the current event.
    pub(crate) fn finish(&self, at: Position) {
        self.progress.ack(at);
        self.gate.exit();
    }

    /// Fails the stage at its unfinished events: its stream yields nothing more, and the task handles the first error.
    pub(crate) fn fail(&self, error: Error) {
        self.gate.fail(StageFault { error, events: self.progress.unfinished() });
    }

    /// Fails the stage for a reason that is no event's: another attempt processes all of them.
    pub(crate) fn fail_between_events(&self, error: Error) {
        self.gate.fail(StageFault { error, events: Vec::new() });
    }

    /// Returns the time of the current event, if there is one.
    pub(crate) fn event_time(&self) -> Option<Timestamp> {
        self.clock.event_time().filter(|_| self.gate.is_busy())
    }

    /// Returns the time of writes of the current event or batch: the greatest of its events.
    pub(crate) fn write_time(&self) -> Option<Timestamp> {
        self.clock.write_time()
    }

    /// Enters a batch: a seal waits for [`finish_batch`](Self::finish_batch). Events that stream time does not follow are
    /// passed to `held_back`.
    pub(super) fn begin_batch(
        &self,
        batch: impl Iterator<Item = (Position, Timestamp)>,
        mut held_back: impl FnMut(Position, Timestamp),
    ) {
        let mut latest = None;
        let followed = batch.map(|(at, time)| {
            latest = latest.max(Some(time));
            let followed = self.clock.check(time);
            if followed.is_held_back {
                held_back(at, time);
            }
            (at, followed.time)
        });
        if let Some(first) = self.progress.begin_batch(followed) {
            self.progress.reach(first);
            self.progress.begin();
            self.clock.begin_batch(latest);
            self.gate.enter();
        }
    }

    /// Raises stream time to the current batch, which has been processed and is not finished yet.
    pub(crate) fn pass_batch(&self) {
        if let Some(latest) = self.progress.take_batch_time() {
            self.clock.raise(latest);
        }
    }

    /// Finishes the current batch.
    pub(crate) fn finish_batch(&self) {
        self.pass_batch();
        self.progress.finish_batch();
        self.gate.exit();
    }

    /// Finishes an event that was handed out, and lets the stream hand out another.
    pub(crate) fn take_back(&self, at: Position) {
        self.progress.take_back(at);
        self.gate.wake();
    }

    /// Waits while `limit` events are handed out.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>, limit: usize) -> Poll<()> {
        match self.progress.while_full(limit, || self.gate.wait(cx)) {
            None => Poll::Ready(()),
            Some(is_first) => {
                if is_first {
                    tracing::warn!(
                        "{limit} events wait for their `ack()`: the stream resumes with the next one. An event that was \
                         dropped without its `ack()` counts until the next start"
                    );
                }
                Poll::Pending
            }
        }
    }

    /// Notes that the agent has returned without an error: the current event is finished, and with `ended` every event
    /// that it holds.
    pub(crate) fn returned(&self, ended: bool) {
        self.pass_batch();
        if self.gate.leave() {
            self.progress.finish_current();
        }
        if ended {
            self.progress.finish_handed_out();
        }
    }
}
