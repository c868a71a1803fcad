//! The last offset of each key, collected by compaction within a memory limit.

use std::collections::HashMap;

/// Estimated size of an entry without the bytes of its key.
const ENTRY_BYTES: usize = 64;

/// The last offset of each key in a part of the log.
#[derive(Debug)]
pub(crate) struct Keys {
    /// The keys themselves instead of hashes: a hash collision would lose a record.
    last: HashMap<Box<[u8]>, i64>,
    room: usize,
}

impl Keys {
    /// Creates an empty map with a memory limit of about `room` bytes.
    pub(crate) fn new(room: usize) -> Self {
        Self { last: HashMap::new(), room }
    }

    /// Records the offset of a key. Offsets must be passed in ascending order.
    pub(crate) fn note(&mut self, key: &[u8], offset: i64) {
        if let Some(last) = self.last.get_mut(key) {
            *last = offset;
        } else {
            self.room = self.room.saturating_sub(key.len() + ENTRY_BYTES);
            self.last.insert(key.into(), offset);
        }
    }

    /// Returns true if the memory limit is reached. An empty map is never full, so that every pass makes progress.
    pub(crate) fn is_full(&self) -> bool {
        self.room == 0 && !self.last.is_empty()
    }

    /// Returns true if a later record with this key has been recorded.
    pub(crate) fn supersede(&self, key: &[u8], offset: i64) -> bool {
        self.last.get(key).is_some_and(|last| *last > offset)
    }
}
