//! Windows: spans of event time.

use std::fmt;

use crate::time::Timestamp;

/// A span of event time: from its start up to, and not including, its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    start: Timestamp,
    end: Timestamp,
}

impl Window {
    /// From `start` up to, and not including, `end`.
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    /// The first millisecond in it.
    pub const fn start(self) -> Timestamp {
        self.start
    }

    /// The first millisecond after it.
    pub const fn end(self) -> Timestamp {
        self.end
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}
