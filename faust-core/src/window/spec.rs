//! The windows of a table: their kind, and how long they are kept.

use std::fmt;
use std::time::Duration;

use super::hopping::Hopping;
use super::kind::{WindowKind, length};
use super::span::Window;
use super::tumbling::Tumbling;
use crate::error::Error;
use crate::time::{Timestamp, millis};

/// Default of `expires`, the time a window is kept after its end. The stages before a table may lag by hours.
const DEFAULT_EXPIRES_MS: i64 = 24 * 60 * 60 * 1000;

/// The kind, size and expiry of windows.
///
/// Windows of both kinds start at multiples of the step, counted from the Unix epoch. An event belongs to every window
/// that contains its timestamp: to one if windows tumble, to about size / step if they hop.
///
/// A timestamp less than one size away from the limits of `i64` is treated as the nearest one that is not, so that
/// every timestamp has windows. (The limits are 292 million years away, but a message may carry any timestamp.)
///
/// ```
/// use std::time::Duration;
/// use faust::{Timestamp, WindowSpec};
///
/// let spec = WindowSpec::hopping(Duration::from_secs(10), Duration::from_secs(5))?;
/// let starts: Vec<i64> = spec.containing(Timestamp(23_000)).map(|window| window.start().0).collect();
/// assert_eq!(starts, [15_000, 20_000]);
/// # Ok::<(), faust::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    kind: Kind,
    /// Time a window is kept after its end; not negative.
    expires_ms: i64,
}

/// The kinds of windows. A new one is a variant here and a file beside this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tumbling(Tumbling),
    Hopping(Hopping),
}

impl WindowSpec {
    /// Creates windows that follow each other without a gap.
    ///
    /// # Errors
    /// Fails if the size is zero, more than half of `i64::MAX` milliseconds, or not a whole number of milliseconds.
    pub fn tumbling(size: Duration) -> Result<Self, Error> {
        Ok(Self { kind: Kind::Tumbling(Tumbling::new(size)?), expires_ms: DEFAULT_EXPIRES_MS })
    }

    /// Creates windows of this size, one starting at every step. Each event costs size / step updates of a table.
    /// Windows whose step is their size are tumbling.
    ///
    /// # Errors
    /// Fails if the size or the step is invalid as in [`WindowSpec::tumbling`], or if the step is longer than the size.
    pub fn hopping(size: Duration, step: Duration) -> Result<Self, Error> {
        if size == step {
            return Self::tumbling(size);
        }
        Ok(Self { kind: Kind::Hopping(Hopping::new(size, step)?), expires_ms: DEFAULT_EXPIRES_MS })
    }

    /// Sets the time a window is kept after its end, in stream time. The default is 24 hours; with zero, a window
    /// expires at its end.
    ///
    /// # Errors
    /// Fails if `expires` is invalid as in [`WindowSpec::tumbling`], except that zero is allowed.
    pub fn with_expires(self, expires: Duration) -> Result<Self, Error> {
        let expires_ms = if expires.is_zero() { 0 } else { length("expires", expires)? };
        Ok(Self { expires_ms, ..self })
    }

    /// Returns the length of a window.
    pub fn size(self) -> Duration {
        Duration::from_millis(self.kind().size_ms().unsigned_abs())
    }

    /// Returns the time between the starts of two consecutive windows.
    pub fn step(self) -> Duration {
        Duration::from_millis(self.kind().step_ms().unsigned_abs())
    }

    /// Returns the time a window is kept after its end.
    pub fn expires(self) -> Duration {
        Duration::from_millis(self.expires_ms.unsigned_abs())
    }

    /// Returns the window with this start. It is meant for stored starts, which are multiples of the step.
    pub fn window_at(self, start: Timestamp) -> Window {
        self.kind().window_at(start)
    }

    /// Returns every window that contains `time`, oldest first.
    pub fn containing(self, time: Timestamp) -> impl DoubleEndedIterator<Item = Window> + Clone {
        self.kind().assign(time)
    }

    /// Returns the kind and the size of the windows, which determine what stored keys mean. It is part of changelogs and
    /// stores: the format must not change.
    pub(crate) fn layout(self) -> String {
        self.kind().to_string()
    }

    /// Returns `true` if a window starts at this time.
    pub(crate) fn is_start(self, time: Timestamp) -> bool {
        self.next_start(time) == time
    }

    /// Returns the first start of a window at or after `from`.
    pub(crate) fn next_start(self, from: Timestamp) -> Timestamp {
        self.kind().next_start(from)
    }

    /// Returns the window with the latest start among those that contain `time`.
    pub fn current(self, time: Timestamp) -> Window {
        self.kind().assign(time).latest()
    }

    /// Returns the window with the earliest start among those that contain `time`.
    pub fn earliest(self, time: Timestamp) -> Window {
        self.kind().assign(time).earliest()
    }

    /// Returns the current window of the time `before` earlier than `time`.
    pub fn delta(self, time: Timestamp, before: Duration) -> Window {
        self.current(Timestamp(time.0.saturating_sub(millis(before))))
    }

    /// Returns the maximum number of windows that an event belongs to. It is exact if the size is a multiple of the
    /// step; otherwise, events later than size mod step after a start belong to one window fewer.
    pub fn count_per_event(self) -> u64 {
        self.kind().size_ms().unsigned_abs().div_ceil(self.kind().step_ms().unsigned_abs())
    }

    /// Returns the stream time at which the window expires: its end plus `expires`, saturated at the largest timestamp.
    pub fn closes_at(self, window: Window) -> Timestamp {
        Timestamp(self.kind().closes_at(window).0.saturating_add(self.expires_ms))
    }

    /// Returns `true` if the window has expired at this stream time. Python Faust uses the wall clock instead, so that
    /// a replay closes windows that its events have not yet reached.
    pub fn is_expired(self, window: Window, stream_time: Timestamp) -> bool {
        window.start() < self.has_closed_before(stream_time)
    }

    /// Returns the start before which all windows have expired; no others have. It saturates at the smallest timestamp,
    /// before which no window starts.
    pub fn has_closed_before(self, stream_time: Timestamp) -> Timestamp {
        // start + size + expires <= stream time. The largest bound is below i64::MAX, as the size is at least 1.
        let bound = i128::from(stream_time.0) - i128::from(self.kind().size_ms()) - i128::from(self.expires_ms) + 1;
        Timestamp(i64::try_from(bound).unwrap_or(i64::MIN))
    }

    fn kind(&self) -> &dyn WindowKind {
        match &self.kind {
            Kind::Tumbling(kind) => kind,
            Kind::Hopping(kind) => kind,
        }
    }
}

impl fmt::Display for WindowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, expires {}", self.kind(), humantime::format_duration(self.expires()))
    }
}

#[cfg(test)]
mod tests;
