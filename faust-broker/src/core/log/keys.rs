//! Where each key was last seen: what compaction has to know, within a bound of memory.

use std::collections::HashMap;

/// What an entry takes beside the bytes of its key, as good as one can tell.
const ENTRY_BYTES: usize = 64;

/// The last offset of each key of a part of the log.
#[derive(Debug)]
pub(crate) struct Keys {
    /// The keys themselves and not a digest of them: two that looked the same would lose a record.
    last: HashMap<Box<[u8]>, i64>,
    room: usize,
}

impl Keys {
    /// Room for keys of about so many bytes.
    pub(crate) fn new(room: usize) -> Self {
        Self { last: HashMap::new(), room }
    }

    /// Remembers a key; offsets have to come in order.
    pub(crate) fn note(&mut self, key: &[u8], offset: i64) {
        if let Some(last) = self.last.get_mut(key) {
            *last = offset;
        } else {
            self.room = self.room.saturating_sub(key.len() + ENTRY_BYTES);
            self.last.insert(key.into(), offset);
        }
    }

    /// Whether there is no room for more; the first batch always finds some, or a round would get nowhere.
    pub(crate) fn is_full(&self) -> bool {
        self.room == 0 && !self.last.is_empty()
    }

    /// Whether a later record of this key has been seen.
    pub(crate) fn supersede(&self, key: &[u8], offset: i64) -> bool {
        self.last.get(key).is_some_and(|last| *last > offset)
    }
}
