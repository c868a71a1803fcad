//! Tumbling windows: they follow each other without a gap, and an event belongs to one.

use std::fmt;
use std::time::Duration;

use super::kind::{AssignedWindows, WindowKind, clamped, length, next_multiple, window_of};
use super::span::Window;
use crate::error::Error;
use crate::time::Timestamp;

/// Windows of one size whose starts are multiples of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tumbling {
    size_ms: i64,
}

impl Tumbling {
    pub(super) fn new(size: Duration) -> Result<Self, Error> {
        Ok(Self { size_ms: length("size", size)? })
    }
}

impl WindowKind for Tumbling {
    fn assign(&self, time: Timestamp) -> AssignedWindows {
        let time = clamped(time, self.size_ms);
        let first = self.window_at(Timestamp(time - time.rem_euclid(self.size_ms)));
        AssignedWindows { first, count: 1, step_ms: self.size_ms }
    }

    fn window_at(&self, start: Timestamp) -> Window {
        window_of(start, self.size_ms)
    }

    fn next_start(&self, from: Timestamp) -> Timestamp {
        next_multiple(from, self.size_ms)
    }

    fn size_ms(&self) -> i64 {
        self.size_ms
    }

    fn step_ms(&self) -> i64 {
        self.size_ms
    }
}

/// Part of the identity that stores keep: it must not change.
impl fmt::Display for Tumbling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = Duration::from_millis(self.size_ms.unsigned_abs());
        write!(f, "tumbling {}", humantime::format_duration(size))
    }
}
