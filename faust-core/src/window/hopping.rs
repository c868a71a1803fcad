//! Hopping windows: one starts at every step, and an event belongs to about size / step of them.

use std::fmt;
use std::time::Duration;

use super::kind::{AssignedWindows, WindowKind, clamped, length, next_multiple, window_of};
use super::span::Window;
use crate::error::Error;
use crate::time::Timestamp;

/// Windows of one size whose starts are multiples of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hopping {
    /// At least one step, and at most half of `i64::MAX`.
    size_ms: i64,
    /// At least 1.
    step_ms: i64,
}

impl Hopping {
    pub(super) fn new(size: Duration, step: Duration) -> Result<Self, Error> {
        let (size_ms, step_ms) = (length("size", size)?, length("step", step)?);
        if step_ms > size_ms {
            return Err(Error::InvalidWindow(format!(
                "the step {step:?} is longer than the size {size:?}: events between two windows would be in neither; \
                 make the step at most {size:?}, or the size at least {step:?}"
            )));
        }
        Ok(Self { size_ms, step_ms })
    }
}

impl WindowKind for Hopping {
    fn assign(&self, time: Timestamp) -> AssignedWindows {
        let time = clamped(time, self.size_ms);
        // A window that starts at `before` ends just before the time: the first start is the next multiple of the step.
        let before = time - self.size_ms;
        let first = self.window_at(Timestamp(before + (self.step_ms - before.rem_euclid(self.step_ms))));
        let latest = self.window_at(Timestamp(time - time.rem_euclid(self.step_ms)));
        let count = (latest.start().0 - first.start().0) / self.step_ms + 1;
        AssignedWindows { first, count, step_ms: self.step_ms }
    }

    fn window_at(&self, start: Timestamp) -> Window {
        window_of(start, self.size_ms)
    }

    fn next_start(&self, from: Timestamp) -> Timestamp {
        next_multiple(from, self.step_ms)
    }

    fn size_ms(&self) -> i64 {
        self.size_ms
    }

    fn step_ms(&self) -> i64 {
        self.step_ms
    }
}

/// Part of the identity that stores keep: it must not change.
impl fmt::Display for Hopping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [size, step] = [self.size_ms, self.step_ms].map(|millis| Duration::from_millis(millis.unsigned_abs()));
        write!(f, "hopping {} by {}", humantime::format_duration(size), humantime::format_duration(step))
    }
}
