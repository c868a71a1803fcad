//! The event clock of a stage: the time of the current event, and stream time.

use crate::time::{AtomicTimestamp, Timestamp};

/// Event time as the stage has seen it.
#[derive(Debug)]
pub(crate) struct EventClock {
    /// The time of the current event; none in a batch, which has several.
    event_time: AtomicTimestamp,
    /// The greatest event time so far. It never decreases, and a batch counts once it is finished.
    stream_time: AtomicTimestamp,
}

impl EventClock {
    /// Starts with the stream time of a former owner.
    pub(super) fn new(stream_time: Option<Timestamp>) -> Self {
        Self { event_time: AtomicTimestamp::new(None), stream_time: AtomicTimestamp::new(stream_time) }
    }

    /// Sets the time of the current event, and raises stream time to it.
    pub(super) fn begin(&self, time: Option<Timestamp>) {
        self.event_time.store(time);
        if let Some(time) = time {
            self.stream_time.raise(time);
        }
    }

    /// Raises stream time.
    pub(super) fn raise(&self, time: Timestamp) {
        self.stream_time.raise(time);
    }

    /// Returns the time of the event begun last.
    pub(super) fn event_time(&self) -> Option<Timestamp> {
        self.event_time.load()
    }

    /// Returns stream time: the greatest event time that the stage has seen.
    pub(crate) fn stream_time(&self) -> Option<Timestamp> {
        self.stream_time.load()
    }
}
