//! A window: a span of event time.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;
use crate::time::format_duration;

/// A span of time from `start` (inclusive) to `end` (exclusive).
///
/// ```
/// use std::time::Duration;
/// use faust::{Timestamp, WindowSpec};
///
/// let window = WindowSpec::tumbling(Duration::from_secs(10))?.current(Timestamp(1_767_225_603_500));
/// assert_eq!(window.to_string(), "[2026-01-01T00:00:00.000Z, +10s)");
/// assert!(window.contains(window.start()) && !window.contains(window.end()));
/// # Ok::<(), faust::Error>(())
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
        write!(f, "{})", format_duration(Duration::from_millis(self.end.0.abs_diff(self.start.0))))
    }
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
