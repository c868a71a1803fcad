//! The keys written between two seals, with the values they had before.

use super::held::Held;

pub(super) struct Epoch<V> {
    pub(super) number: u64,
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

pub(super) struct Undo<V> {
    pub(super) held: Held<V>,
    pub(super) epoch: u64,
}
