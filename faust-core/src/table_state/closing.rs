//! The windows that are being closed: the keys of a range of starts, which are collected in bounded steps.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::vec::IntoIter;

use super::overlay::UnwrittenPlace;
use crate::time::Timestamp;

/// The windows that are being closed.
pub(super) struct ClosingWindows {
    /// Windows that start before this time are closed.
    pub(super) bound: Timestamp,
    /// Keys that have been collected, oldest windows first.
    pub(super) keys: VecDeque<Vec<u8>>,
    pub(super) rest: Uncollected,
}

/// The keys that have not been collected yet.
pub(super) enum Uncollected {
    /// Those in the remaining slots of one window, and of the windows after it. The overlay has all entries.
    InMemory { start: Timestamp, slots: IntoIter<u32> },
    /// Those from `low` on. First, entries that are not in the store are looked up, from `next` on.
    Unwritten { low: Vec<u8>, next: UnwrittenPlace, found: BTreeSet<Vec<u8>> },
    /// Those above `low` in the store, and those that have been found in the overlay.
    Stored { low: Bound<Vec<u8>>, unwritten: BTreeSet<Vec<u8>> },
    /// None.
    Nothing,
}
