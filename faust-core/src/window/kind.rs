//! The rules of a kind of windows. Each kind is a file beside this one.

use std::fmt;
use std::time::Duration;

use super::span::Window;
use crate::error::Error;
use crate::time::Timestamp;

/// A kind of windows: which windows an event belongs to, and when a window may close.
pub(crate) trait WindowKind: fmt::Display {
    /// Returns the windows that contain `time`, oldest first.
    fn assign(&self, time: Timestamp) -> AssignedWindows;

    /// Returns the window with this start, as store keys contain it.
    fn window_at(&self, start: Timestamp) -> Window;

    /// Returns the first start of a window at or after `from`, saturated at the largest timestamp.
    fn next_start(&self, from: Timestamp) -> Timestamp;

    /// Returns the stream time from which no event on time can change the window.
    fn closes_at(&self, window: Window) -> Timestamp {
        window.end()
    }

    /// Returns the length of a window in milliseconds.
    fn size_ms(&self) -> i64;

    /// Returns the time between the starts of two consecutive windows in milliseconds.
    fn step_ms(&self) -> i64;
}

/// The windows that an event is assigned to: windows of one size whose starts are one step apart.
#[derive(Clone, Debug)]
pub(crate) struct AssignedWindows {
    /// The first window.
    pub(super) first: Window,
    /// Number of windows.
    pub(super) count: i64,
    pub(super) step_ms: i64,
}

impl AssignedWindows {
    fn nth_from_first(&self, n: i64) -> Window {
        let shift = n * self.step_ms;
        Window::new(Timestamp(self.first.start().0 + shift), Timestamp(self.first.end().0 + shift))
    }

    /// Returns the window with the earliest start.
    pub(super) fn earliest(&self) -> Window {
        self.first
    }

    /// Returns the window with the latest start.
    pub(super) fn latest(&self) -> Window {
        self.nth_from_first(self.count - 1)
    }
}

impl Iterator for AssignedWindows {
    type Item = Window;

    fn next(&mut self) -> Option<Window> {
        let next = (self.count > 0).then_some(self.first)?;
        self.count -= 1;
        if self.count > 0 {
            self.first = self.nth_from_first(1);
        }
        Some(next)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        (count, Some(count))
    }
}

impl DoubleEndedIterator for AssignedWindows {
    fn next_back(&mut self) -> Option<Window> {
        let last = (self.count > 0).then(|| self.latest())?;
        self.count -= 1;
        Some(last)
    }
}

impl ExactSizeIterator for AssignedWindows {}

/// Returns the window of this size with this start. A window at the limit of time is moved as a whole, so that it keeps
/// its size.
pub(super) fn window_of(start: Timestamp, size_ms: i64) -> Window {
    let start = start.0.min(i64::MAX - size_ms);
    Window::new(Timestamp(start), Timestamp(start + size_ms))
}

/// Returns the first multiple of the step at or after `from`, saturated at the largest timestamp.
pub(super) fn next_multiple(from: Timestamp, step_ms: i64) -> Timestamp {
    match from.0.rem_euclid(step_ms) {
        0 => from,
        past => Timestamp(from.0.saturating_add(step_ms - past)),
    }
}

/// Clamps `time` so that every window of this size that contains it has a representable start and end.
pub(super) fn clamped(time: Timestamp, size_ms: i64) -> i64 {
    time.0.clamp(i64::MIN + size_ms, i64::MAX - size_ms)
}

/// Converts a duration to milliseconds, rejecting lengths that windows cannot have.
pub(super) fn length(what: &str, duration: Duration) -> Result<i64, Error> {
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
