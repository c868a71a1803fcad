//! A window, and the windows that a table has.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::time::Timestamp;

/// Default of `expires`, the time a window is kept after its end. The stages before a table may lag by hours.
const DEFAULT_EXPIRES_MS: i64 = 24 * 60 * 60 * 1000;

/// A span of time from `start` (inclusive) to `end` (exclusive).
///
/// ```
/// use faust_core::{time::Timestamp, window::WindowSpec};
/// use std::time::Duration;
///
/// let window = WindowSpec::tumbling(Duration::from_secs(10))?.current(Timestamp(1_767_225_603_500));
/// assert_eq!(window.to_string(), "[2026-01-01T00:00:00.000Z, +10s)");
/// assert!(window.contains(window.start()) && !window.contains(window.end()));
/// # Ok::<(), faust_core::error::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "Wire", try_from = "Wire")]
pub struct Window {
    start: Timestamp,
    end: Timestamp,
}

impl Window {
    /// Creates the window from `start` (inclusive) to `end` (exclusive), for calling a hook in a unit test.
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    /// Returns the first millisecond of the window.
    pub fn start(self) -> Timestamp {
        self.start
    }

    /// Returns the first millisecond after the window.
    pub fn end(self) -> Timestamp {
        self.end
    }

    /// Returns `true` if an event with this timestamp belongs to the window.
    pub fn contains(self, time: Timestamp) -> bool {
        self.start <= time && time < self.end
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.start.0) {
            Ok(start) => write!(f, "[{start:.3}, +")?,
            // Dates beyond the year 9999 cannot be formatted.
            Err(_) => write!(f, "[{} ms, +", self.start)?,
        }
        write_length(f, self.end.0.abs_diff(self.start.0))?;
        f.write_str(")")
    }
}

/// Writes a number of milliseconds in the form that `parse_duration` reads: `1m30s`.
fn write_length(f: &mut fmt::Formatter<'_>, mut millis: u64) -> fmt::Result {
    for (unit, name) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")] {
        if millis >= unit {
            write!(f, "{}{name}", millis / unit)?;
            millis %= unit;
        }
    }
    Ok(())
}

/// JSON form of a window, in milliseconds: `{"start":1767225600000,"end":1767225610000}`.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Window")]
struct Wire {
    start: i64,
    end: i64,
}

impl From<Window> for Wire {
    fn from(window: Window) -> Self {
        Self { start: window.start.0, end: window.end.0 }
    }
}

impl TryFrom<Wire> for Window {
    type Error = String;

    fn try_from(Wire { start, end }: Wire) -> Result<Self, String> {
        if start >= end {
            return Err(format!("invalid window from {start} to {end}: its end must be after its start"));
        }
        Ok(Self { start: Timestamp(start), end: Timestamp(end) })
    }
}

/// The size, step and expiry of windows.
///
/// Windows start at multiples of the step, counted from the Unix epoch. An event belongs to every window that contains
/// its timestamp: to one if windows tumble, to about size / step if they hop.
///
/// A timestamp less than one size away from the limits of `i64` is treated as the nearest one that is not, so that
/// every timestamp has windows. (The limits are 292 million years away, but a message may carry any timestamp.)
///
/// ```
/// use faust_core::{time::Timestamp, window::WindowSpec};
/// use std::time::Duration;
///
/// let spec = WindowSpec::hopping(Duration::from_secs(10), Duration::from_secs(5))?;
/// let starts: Vec<i64> = spec.containing(Timestamp(23_000)).map(|window| window.start().0).collect();
/// assert_eq!(starts, [15_000, 20_000]);
/// # Ok::<(), faust_core::error::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    /// Size; at least one step, and at most half of `i64::MAX`.
    size_ms: i64,
    /// Step; at least 1.
    step_ms: i64,
    /// Time a window is kept after its end; not negative.
    expires_ms: i64,
}

impl fmt::Display for WindowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |duration: Duration| humantime::format_duration(duration);
        if self.size_ms == self.step_ms {
            write!(f, "tumbling {}", shown(self.size()))?;
        } else {
            write!(f, "hopping {} by {}", shown(self.size()), shown(self.step()))?;
        }
        write!(f, ", expires {}", shown(self.expires()))
    }
}

impl WindowSpec {
    /// Creates windows that follow each other without a gap.
    ///
    /// # Errors
    /// Fails if the size is zero, more than half of `i64::MAX` milliseconds, or not a whole number of milliseconds.
    pub fn tumbling(size: Duration) -> Result<Self, Error> {
        let size_ms = length("size", size)?;
        Ok(Self { size_ms, step_ms: size_ms, expires_ms: DEFAULT_EXPIRES_MS })
    }

    /// Creates windows of this size, one starting at every step. Each event costs size / step updates of a table.
    ///
    /// # Errors
    /// Fails if the size or the step is invalid as in [`WindowSpec::tumbling`], or if the step is longer than the size.
    pub fn hopping(size: Duration, step: Duration) -> Result<Self, Error> {
        let (size_ms, step_ms) = (length("size", size)?, length("step", step)?);
        if step_ms > size_ms {
            return Err(Error::InvalidWindow(format!(
                "the step {step:?} is longer than the size {size:?}: events between two windows would be in neither; \
                 make the step at most {size:?}, or the size at least {step:?}"
            )));
        }
        Ok(Self { size_ms, step_ms, expires_ms: DEFAULT_EXPIRES_MS })
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
        Duration::from_millis(self.size_ms.unsigned_abs())
    }

    /// Returns the time between the starts of two consecutive windows.
    pub fn step(self) -> Duration {
        Duration::from_millis(self.step_ms.unsigned_abs())
    }

    /// Returns the time a window is kept after its end.
    pub fn expires(self) -> Duration {
        Duration::from_millis(self.expires_ms.unsigned_abs())
    }

    /// Returns the window with this start. It is meant for stored starts, which are multiples of the step.
    pub fn window_at(self, start: Timestamp) -> Window {
        // A window at the limit is moved as a whole, so that it keeps its size.
        let start = start.0.min(i64::MAX - self.size_ms);
        Window { start: Timestamp(start), end: Timestamp(start + self.size_ms) }
    }

    /// Returns every window that contains `time`, oldest first.
    pub fn containing(self, time: Timestamp) -> impl DoubleEndedIterator<Item = Window> + Clone {
        let (first, last) = (self.earliest(time).start.0, self.current(time).start.0);
        (0..=(last - first) / self.step_ms).map(move |n| self.window_at(Timestamp(first + n * self.step_ms)))
    }

    /// Returns the window with the latest start among those that contain `time`.
    pub fn current(self, time: Timestamp) -> Window {
        let time = self.clamped(time);
        self.window_at(Timestamp(time - time.rem_euclid(self.step_ms)))
    }

    /// Returns the window with the earliest start among those that contain `time`.
    pub fn earliest(self, time: Timestamp) -> Window {
        // A window that starts at `before` ends just before the time: the start is the next multiple of the step.
        let before = self.clamped(time) - self.size_ms;
        self.window_at(Timestamp(before + (self.step_ms - before.rem_euclid(self.step_ms))))
    }

    /// Returns the current window of the time `before` earlier than `time`.
    pub fn delta(self, time: Timestamp, before: Duration) -> Window {
        self.current(Timestamp(time.0.saturating_sub(crate::time::millis(before))))
    }

    /// Returns the maximum number of windows that an event belongs to. It is exact if the size is a multiple of the
    /// step; otherwise, events later than size mod step after a start belong to one window fewer.
    pub fn count_per_event(self) -> u64 {
        self.size_ms.unsigned_abs().div_ceil(self.step_ms.unsigned_abs())
    }

    /// Returns the stream time at which the window expires: its end plus `expires`, saturated at the largest timestamp.
    pub fn closes_at(self, window: Window) -> Timestamp {
        Timestamp(window.end.0.saturating_add(self.expires_ms))
    }

    /// Returns `true` if the window has expired at this stream time. Python Faust uses the wall clock instead, so that
    /// a replay closes windows that its events have not yet reached.
    pub fn is_expired(self, window: Window, stream_time: Timestamp) -> bool {
        window.start.0 < self.has_closed_before(stream_time)
    }

    /// Returns the start, in milliseconds, before which all windows have expired; no others have.
    pub fn has_closed_before(self, stream_time: Timestamp) -> i64 {
        // start + size + expires <= stream time. The largest bound is below i64::MAX, as the size is at least 1.
        let bound = i128::from(stream_time.0) - i128::from(self.size_ms) - i128::from(self.expires_ms) + 1;
        i64::try_from(bound).unwrap_or(i64::MIN)
    }

    /// Clamps `time` so that every window that contains it has a representable start and end.
    fn clamped(self, time: Timestamp) -> i64 {
        time.0.clamp(i64::MIN + self.size_ms, i64::MAX - self.size_ms)
    }
}

/// Converts a duration to milliseconds, rejecting lengths that windows cannot have.
fn length(what: &str, duration: Duration) -> Result<i64, Error> {
    if duration.is_zero() {
        return Err(Error::InvalidWindow(format!("the {what} of windows is zero: make it at least 1ms")));
    }
    let limit = i64::MAX / 2;
    let millis = i64::try_from(duration.as_millis()).ok().filter(|millis| *millis <= limit);
    let millis = millis.ok_or_else(|| {
        Error::InvalidWindow(format!(
            "the {what} {duration:?} is too long for Kafka timestamps: make it at most {limit}ms"
        ))
    })?;
    if !duration.subsec_nanos().is_multiple_of(1_000_000) {
        return Err(Error::InvalidWindow(format!(
            "the {what} {duration:?} is not a whole number of milliseconds, the unit of Kafka timestamps: round it"
        )));
    }
    Ok(millis)
}

#[cfg(test)]
mod tests;
