//! A window, and the windows that a table has.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// How long a window stays after its end, unless `expires` says otherwise: the stages before a table may lag by hours.
const DEFAULT_EXPIRES_MS: i64 = 24 * 60 * 60 * 1000;

/// A span of time: from `start`, up to but without `end`.
///
/// ```
/// use faust_core::{time::Timestamp, window::WindowSpec};
/// use std::time::Duration;
///
/// let window = WindowSpec::tumbling(Duration::from_secs(10))?.current(Timestamp(1_767_225_603_500));
/// assert_eq!(window.to_string(), "[2026-01-01T00:00:00.000Z, +10s)");
/// assert!(window.contains(window.start()) && !window.contains(window.end()));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "Wire", try_from = "Wire")]
pub struct Window {
    start: Timestamp,
    end: Timestamp,
}

impl Window {
    /// From `start` up to, and not including, `end`; for calling a hook in a unit test.
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    /// The first millisecond of it.
    pub fn start(self) -> Timestamp {
        self.start
    }

    /// The first millisecond after it.
    pub fn end(self) -> Timestamp {
        self.end
    }

    /// Whether an event of this time belongs to it.
    pub fn contains(self, time: Timestamp) -> bool {
        self.start <= time && time < self.end
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.start.0) {
            Ok(start) => write!(f, "[{start:.3}, +")?,
            // Beyond the year 9999 there is no date to write.
            Err(_) => write!(f, "[{} ms, +", self.start)?,
        }
        write_length(f, self.end.0.abs_diff(self.start.0))?;
        f.write_str(")")
    }
}

/// A length of so many milliseconds, as `parse_duration` reads it: `1m30s`.
fn write_length(f: &mut fmt::Formatter<'_>, mut millis: u64) -> fmt::Result {
    for (unit, name) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")] {
        if millis >= unit {
            write!(f, "{}{name}", millis / unit)?;
            millis %= unit;
        }
    }
    Ok(())
}

/// A window in JSON: `{"start":1767225600000,"end":1767225610000}`, in milliseconds.
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
            return Err(format!("a window from {start} to {end} is none: its end has to be after its start"));
        }
        Ok(Self { start: Timestamp(start), end: Timestamp(end) })
    }
}

/// Which windows there are, how long they are, and how long they stay.
///
/// Windows start at multiples of the step, counted from the Unix epoch. An event belongs to every window that contains
/// its time: to one if windows tumble, to about size / step if they hop.
///
/// Times nearer to the limits of `i64` than one size count as the nearest time that is not, so that every time has windows.
/// (Those are 292 million years away, but a message may claim anything.)
///
/// ```
/// use faust_core::{time::Timestamp, window::WindowSpec};
/// use std::time::Duration;
///
/// let spec = WindowSpec::hopping(Duration::from_secs(10), Duration::from_secs(5))?;
/// let starts: Vec<i64> = spec.containing(Timestamp(23_000)).map(|window| window.start().0).collect();
/// assert_eq!(starts, [15_000, 20_000]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    /// At least one step, and at most half of what an `i64` holds.
    size_ms: i64,
    /// At least 1.
    step_ms: i64,
    /// Not negative.
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
    /// Windows that follow each other without a gap.
    ///
    /// # Errors
    /// The size is zero, longer than half of what an `i64` of milliseconds holds, or no whole number of milliseconds.
    pub fn tumbling(size: Duration) -> Result<Self, String> {
        let size_ms = length("size", size)?;
        Ok(Self { size_ms, step_ms: size_ms, expires_ms: DEFAULT_EXPIRES_MS })
    }

    /// Windows of this size, one begun every step. Each event costs size / step updates of a table.
    ///
    /// # Errors
    /// As of [`WindowSpec::tumbling`], for size and step; or the step is longer than the size.
    pub fn hopping(size: Duration, step: Duration) -> Result<Self, String> {
        let (size_ms, step_ms) = (length("size", size)?, length("step", step)?);
        if step_ms > size_ms {
            return Err(format!(
                "the step {step:?} is longer than the size {size:?}: events between windows would belong to none; \
                 make the step at most {size:?}, or the size at least {step:?}"
            ));
        }
        Ok(Self { size_ms, step_ms, expires_ms: DEFAULT_EXPIRES_MS })
    }

    /// How long a window stays after its end, in stream time; 24 hours by default. Zero lets it go at its end.
    ///
    /// # Errors
    /// As of [`WindowSpec::tumbling`], but zero is allowed.
    pub fn with_expires(self, expires: Duration) -> Result<Self, String> {
        let expires_ms = if expires.is_zero() { 0 } else { length("expires", expires)? };
        Ok(Self { expires_ms, ..self })
    }

    /// How long a window is.
    pub fn size(self) -> Duration {
        Duration::from_millis(self.size_ms.unsigned_abs())
    }

    /// How long after one window the next begins.
    pub fn step(self) -> Duration {
        Duration::from_millis(self.step_ms.unsigned_abs())
    }

    /// How long a window stays after its end.
    pub fn expires(self) -> Duration {
        Duration::from_millis(self.expires_ms.unsigned_abs())
    }

    /// The window that starts here; for starts that were stored, which are multiples of the step.
    pub fn window_at(self, start: Timestamp) -> Window {
        // No window is longer than its size: one at the limit moves as a whole.
        let start = start.0.min(i64::MAX - self.size_ms);
        Window { start: Timestamp(start), end: Timestamp(start + self.size_ms) }
    }

    /// Every window that contains the time, oldest first.
    pub fn containing(self, time: Timestamp) -> impl DoubleEndedIterator<Item = Window> + Clone {
        let (first, last) = (self.earliest(time).start.0, self.current(time).start.0);
        (0..=(last - first) / self.step_ms).map(move |n| self.window_at(Timestamp(first + n * self.step_ms)))
    }

    /// The window that starts last of those that contain the time.
    pub fn current(self, time: Timestamp) -> Window {
        let time = self.clamped(time);
        self.window_at(Timestamp(time - time.rem_euclid(self.step_ms)))
    }

    /// The window that starts first of those that contain the time.
    pub fn earliest(self, time: Timestamp) -> Window {
        // The first multiple of the step after `before`, where a window would end just before the time.
        let before = self.clamped(time) - self.size_ms;
        self.window_at(Timestamp(before + (self.step_ms - before.rem_euclid(self.step_ms))))
    }

    /// The current window of so long before the time.
    pub fn delta(self, time: Timestamp, before: Duration) -> Window {
        self.current(Timestamp(time.0.saturating_sub(crate::time::millis(before))))
    }

    /// How many windows an event belongs to, at most. It is exact if the size is a multiple of the step; else events later
    /// than size mod step after a start belong to one fewer.
    pub fn count_per_event(self) -> u64 {
        self.size_ms.unsigned_abs().div_ceil(self.step_ms.unsigned_abs())
    }

    /// The stream time at which the window may go: its end and what it stays, or the largest time there is.
    pub fn closes_at(self, window: Window) -> Timestamp {
        Timestamp(window.end.0.saturating_add(self.expires_ms))
    }

    /// Whether the window may go. Python Faust asks the wall clock, so that a replay closes windows which its events
    /// have not yet reached; here it is the time of the stream.
    pub fn is_expired(self, window: Window, stream_time: Timestamp) -> bool {
        window.start.0 < self.has_closed_before(stream_time)
    }

    /// All windows that start before this, in milliseconds, have expired, and no others.
    pub fn has_closed_before(self, stream_time: Timestamp) -> i64 {
        // start + size + expires <= stream time. The largest bound is below i64::MAX, as the size is at least 1.
        let bound = i128::from(stream_time.0) - i128::from(self.size_ms) - i128::from(self.expires_ms) + 1;
        i64::try_from(bound).unwrap_or(i64::MIN)
    }

    /// Far enough from the limits for every window that contains the time to have a start and an end.
    fn clamped(self, time: Timestamp) -> i64 {
        time.0.clamp(i64::MIN + self.size_ms, i64::MAX - self.size_ms)
    }
}

/// A length that windows can have, in milliseconds.
fn length(what: &str, duration: Duration) -> Result<i64, String> {
    if duration.is_zero() {
        return Err(format!("the {what} of windows is zero: make it at least 1ms"));
    }
    let limit = i64::MAX / 2;
    let millis = i64::try_from(duration.as_millis()).ok().filter(|millis| *millis <= limit);
    let millis = millis
        .ok_or_else(|| format!("the {what} {duration:?} is longer than time is in Kafka: make it at most {limit}ms"))?;
    if !duration.subsec_nanos().is_multiple_of(1_000_000) {
        return Err(format!(
            "the {what} {duration:?} is no whole number of milliseconds, the unit of Kafka's time: round it"
        ));
    }
    Ok(millis)
}

#[cfg(test)]
mod tests;
