//! The keys written between two seals, with their previous values.

use super::held::Held;
use crate::time::Timestamp;

/// The writes between two seals.
pub(super) struct Epoch<V> {
    pub(super) number: u64,
    /// Slots of the entries written in this epoch, each once.
    pub(super) dirty: Vec<u32>,
    /// The previous state of each entry of `dirty`.
    pub(super) undo: Vec<Undo<V>>,
}

impl<V> Epoch<V> {
    pub(super) fn new(number: u64) -> Self {
        Self { number, dirty: Vec::new(), undo: Vec::new() }
    }

    /// Creates the next epoch, with capacity for as many keys as the last one.
    pub(super) fn after(last: &Self) -> Self {
        let room = last.dirty.len();
        Self { number: last.number + 1, dirty: Vec::with_capacity(room), undo: Vec::with_capacity(room) }
    }
}

/// The state of an entry before an epoch first wrote it.
pub(super) struct Undo<V> {
    pub(super) held: Held<V>,
    pub(super) time: Timestamp,
    /// Number of the epoch that had last written the entry.
    pub(super) epoch: u64,
}
