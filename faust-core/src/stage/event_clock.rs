//! The event clock of a stage: the time of the current event, and stream time.

use std::sync::{Mutex, PoisonError};

use crate::time::{AtomicTimestamp, Horizon, Timestamp};

/// Event time as the stage has seen it.
#[derive(Debug)]
pub(crate) struct EventClock {
    /// The time of the current event; none in a batch, which has several.
    event_time: AtomicTimestamp,
    /// The greatest time of the current batch.
    batch_time: AtomicTimestamp,
    /// The greatest event time so far, of those within the horizon. It never decreases, and a batch counts once it is
    /// finished.
    stream_time: AtomicTimestamp,
    /// The latest time that stream time may have.
    horizon: Horizon,
    /// An event beyond the horizon.
    held_back: Mutex<Option<HeldBack>>,
}

/// An event time beyond the horizon.
#[derive(Clone, Copy, Debug)]
struct HeldBack {
    time: Timestamp,
    /// Stream time when the event was seen.
    stream_time: Option<Timestamp>,
}

/// The effect of an event on stream time.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Followed {
    /// The time to raise stream time to: that of the event, or of an earlier one that was held back.
    pub(super) time: Option<Timestamp>,
    /// The event is beyond the horizon: stream time does not follow it.
    pub(super) is_held_back: bool,
}

impl EventClock {
    /// Starts with the stream time of a former owner.
    pub(crate) fn new(stream_time: Option<Timestamp>, horizon: Horizon) -> Self {
        let [event_time, batch_time] = [(); 2].map(|()| AtomicTimestamp::new(None));
        let stream_time = AtomicTimestamp::new(stream_time);
        Self { event_time, batch_time, stream_time, horizon, held_back: Mutex::default() }
    }

    /// Sets the time of the current event, and raises stream time to it. Returns `true` if the event is held back.
    pub(super) fn begin(&self, time: Timestamp) -> bool {
        self.event_time.store(Some(time));
        let followed = self.check(time);
        if let Some(time) = followed.time {
            self.stream_time.raise(time);
        }
        followed.is_held_back
    }

    /// Notes that several events are current, the latest of which has this time.
    pub(super) fn begin_batch(&self, latest: Option<Timestamp>) {
        self.event_time.store(None);
        self.batch_time.store(latest);
    }

    /// Raises stream time to a time that [`check`](Self::check) has returned.
    pub(super) fn raise(&self, time: Timestamp) {
        self.stream_time.raise(time);
    }

    /// Checks whether stream time may follow an event of this time.
    pub(super) fn check(&self, time: Timestamp) -> Followed {
        match self.horizon.reaches(time) {
            true => Followed { time: Some(time), is_held_back: false },
            false => Followed { time: self.hold_back(time), is_held_back: true },
        }
    }

    /// Notes a time beyond the horizon, and returns the one noted before if stream time is to follow that now.
    ///
    /// If all events of a stage are that far ahead, because their source's clock is, stream time has to follow them in
    /// the end: windows would never close otherwise. So it is raised to a noted time once the horizon has reached it,
    /// unless other events have raised it meanwhile: then the noted one was an exception, and is forgotten.
    #[cold]
    fn hold_back(&self, time: Timestamp) -> Option<Timestamp> {
        let mut held_back = self.held_back.lock().unwrap_or_else(PoisonError::into_inner);
        let stream_time = self.stream_time.load();
        let noted = held_back.filter(|noted| noted.stream_time == stream_time).map(|noted| noted.time);
        let due = noted.filter(|noted| *noted <= self.horizon.latest());
        *held_back = Some(match due {
            Some(_) => HeldBack { time, stream_time: due },
            None => HeldBack { time: noted.map_or(time, |noted| noted.min(time)), stream_time },
        });
        due
    }

    /// Returns the time of the event begun last.
    pub(super) fn event_time(&self) -> Option<Timestamp> {
        self.event_time.load()
    }

    /// Returns the time of writes of the current event or batch: the greatest of its events.
    pub(super) fn write_time(&self) -> Option<Timestamp> {
        self.event_time.load().or_else(|| self.batch_time.load())
    }

    /// Returns stream time: the greatest event time that the stage has seen, of those within the horizon.
    pub(crate) fn stream_time(&self) -> Option<Timestamp> {
        self.stream_time.load()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::time::Clock;

    const HOUR: i64 = 3_600_000;

    /// An event clock whose wall clock shows the returned number.
    fn clock() -> (EventClock, Arc<AtomicI64>) {
        let now = Arc::new(AtomicI64::new(100 * HOUR));
        let read = Arc::clone(&now);
        let wall = Clock::new(move || Timestamp(read.load(Ordering::Relaxed)));
        (EventClock::new(None, Horizon::new(wall, Duration::from_secs(3600))), now)
    }

    #[test]
    fn an_event_beyond_the_horizon_does_not_move_stream_time() {
        let (clock, _) = clock();
        let held_back = [90 * HOUR, i64::MAX, 102 * HOUR, 101 * HOUR, 101 * HOUR + 1, 91 * HOUR]
            .map(|time| clock.begin(Timestamp(time)));
        assert_eq!(held_back, [false, true, true, false, true, false]);
        assert_eq!(
            (clock.event_time(), clock.stream_time()),
            (Some(Timestamp(91 * HOUR)), Some(Timestamp(101 * HOUR)))
        );
    }

    /// Law: stream time is never beyond the horizon, and it never stays behind it by more than twice the distance of the
    /// events from the clock, even if all events are beyond it.
    #[test]
    fn stream_time_follows_a_source_whose_clock_is_ahead() {
        let (clock, now) = clock();
        for minute in 0..600 {
            let at = 100 * HOUR + minute * 60_000;
            now.store(at, Ordering::Relaxed);
            assert!(clock.begin(Timestamp(at + 3 * HOUR)));
            let stream_time = clock.stream_time().map_or(100 * HOUR, |time| time.0);
            assert!(stream_time <= at + HOUR, "{stream_time} at {at}");
            assert!(minute < 120 || stream_time > at - 2 * HOUR, "{stream_time} at {at}");
        }
    }

    #[test]
    fn exceptions_among_other_events_never_move_stream_time() {
        let (clock, now) = clock();
        for minute in 0..600 {
            let at = 100 * HOUR + minute * 60_000;
            now.store(at, Ordering::Relaxed);
            assert!(!clock.begin(Timestamp(at)));
            assert!(clock.begin(Timestamp(at + 2 * HOUR)));
            assert_eq!(clock.stream_time(), Some(Timestamp(at)));
        }
    }

    #[test]
    fn stream_time_stands_still_while_a_batch_is_checked() {
        let (clock, now) = clock();
        let ahead = Timestamp(103 * HOUR);
        assert!(clock.begin(ahead));
        now.store(102 * HOUR, Ordering::Relaxed);
        let followed = [99 * HOUR, 104 * HOUR].map(|time| clock.check(Timestamp(time)).time);
        assert_eq!((followed, clock.stream_time()), ([Some(Timestamp(99 * HOUR)), Some(ahead)], None));
        clock.raise(ahead);
        assert_eq!(clock.stream_time(), Some(ahead));
    }
}
