//! Prefetching: looking up the keys of a batch of messages before an agent does.
//!
//! In a table of a million keys, a look-up takes four dependent memory reads: the position in the index, the entry
//! number stored there, the entry, and its key. An agent looks up one key at a time, so the processor stalls on each of
//! these reads. The keys of a batch of messages are known once the batch has been read, and most accesses to a table
//! are for these keys. When they are looked up together in a tight loop, their cache misses overlap.

use std::sync::Arc;

/// The keys of messages that have been read but not handed out yet.
#[derive(Debug, Default)]
pub(crate) struct KeyBatch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl KeyBatch {
    pub(crate) fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns an iterator over the keys, in the order in which they were added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| self.bytes.get(start..end).unwrap_or_default())
    }
}

/// Maximum length in bytes of a key that is worth copying.
const LONGEST: usize = 1024;
/// Number of entries below which a table stays in the processor's caches anyway.
const LARGE: usize = 8192;
/// Number of batches for which prefetching is paused when a table contained too few of a batch's keys.
const REST: u32 = 256;

/// Decision whether to prefetch keys for a table, based on how many of the messages' keys it contains.
#[derive(Debug, Default)]
pub(crate) struct Prefetch {
    /// Number of batches for which prefetching remains paused.
    rest: u32,
}

impl Prefetch {
    /// Returns whether to look up a batch in a table with this many entries. Must be called once per batch.
    pub(crate) fn is_worth_it(&mut self, entries: usize) -> bool {
        if self.rest > 0 {
            self.rest -= 1;
            return false;
        }
        entries >= LARGE
    }

    /// Records how many of the batch's keys the table contains.
    pub(crate) fn learn(&mut self, found: usize, batch: &KeyBatch) {
        if found < batch.len().div_ceil(4) {
            self.rest = REST;
        }
    }
}

/// A table that can prefetch keys.
pub(crate) trait Prefetchable: Send + Sync {
    /// Looks up the keys of a batch of messages; there are none unless prefetching was worthwhile for some table in the
    /// previous batch. Returns whether it is worthwhile for this table.
    fn prefetch(&self, keys: &KeyBatch) -> bool;
}

/// Prefetching of the keys that a stream's source reads, for all tables of its stage.
pub(crate) struct Prefetcher {
    tables: Vec<Arc<dyn Prefetchable>>,
    /// Set while the keys of batches are collected, because prefetching was worthwhile for some table in the last
    /// batch.
    wanted: bool,
    keys: KeyBatch,
}

impl Prefetcher {
    pub(crate) fn new(tables: Vec<Arc<dyn Prefetchable>>) -> Self {
        Self { tables, wanted: false, keys: KeyBatch::default() }
    }

    /// Adds the key of a message to the current batch.
    pub(crate) fn note(&mut self, key: Option<&[u8]>) {
        if !self.wanted {
            return;
        }
        if let Some(key) = key.filter(|key| key.len() <= LONGEST) {
            self.keys.push(key);
        }
    }

    /// Prefetches the keys of the current batch. Must be called after the batch has been read and before any of its
    /// messages is handed out.
    pub(crate) fn look(&mut self) {
        let wanting = self.tables.iter().filter(|table| table.prefetch(&self.keys)).count();
        self.wanted = wanting > 0;
        self.keys.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::partition::{PartitionCx, TablePartition};
    use super::super::spec::TableSpec;
    use super::*;
    use crate::declare::TableDecl;
    use crate::table_state::roles::AnyTablePartition;
    use crate::time::Timestamp;

    #[test]
    fn a_batch_returns_its_keys_in_order() {
        let mut batch = KeyBatch::default();
        for key in ["one", "", "three"] {
            batch.push(key.as_bytes());
        }
        let keys: Vec<&[u8]> = batch.iter().collect();
        assert_eq!((keys, batch.len()), (vec![&b"one"[..], b"", b"three"], 3));
        batch.clear();
        assert_eq!((batch.iter().count(), batch.len()), (0, 0));
    }

    #[test]
    fn keys_are_looked_up_for_large_tables_that_have_them() {
        let spec = TableSpec::<u64>::new::<String>(&TableDecl::default(), "counts", "a test", "test");
        let partition = TablePartition::new(Arc::new(spec.expect("both types have codecs")), PartitionCx::alone());
        let mut prefetcher = Prefetcher::new(vec![Arc::clone(&partition) as Arc<dyn AnyTablePartition>]);
        let mut batch = |keys: std::ops::Range<usize>| {
            keys.for_each(|key| prefetcher.note(Some(&key.to_be_bytes())));
            let noted = prefetcher.keys.len();
            prefetcher.look();
            (noted, prefetcher.wanted)
        };
        assert_eq!(batch(0..9), (0, false), "the table is small");
        for key in 0..LARGE {
            partition.set(&key.to_be_bytes(), Some(1), Timestamp(0)).expect("no closure holds the value");
        }
        assert_eq!(batch(0..9), (0, true), "the table is large now");
        assert_eq!(batch(0..9), (9, true));
        assert_eq!(batch(LARGE..LARGE + 9), (9, true));
        assert_eq!(batch(0..9), (9, false), "the table had none of the previous batch's keys");
        assert_eq!(batch(0..9), (0, false));
    }

    #[test]
    fn prefetching_pauses_for_a_table_that_lacks_the_keys() {
        let (mut prefetch, mut batch) = (Prefetch::default(), KeyBatch::default());
        (0..8).for_each(|_| batch.push(b"key"));
        assert!(!prefetch.is_worth_it(LARGE - 1), "a small table is cached anyway");
        assert!(prefetch.is_worth_it(LARGE));
        prefetch.learn(2, &batch);
        assert!(prefetch.is_worth_it(LARGE), "a quarter is enough");
        prefetch.learn(1, &batch);
        assert!((0..REST).all(|_| !prefetch.is_worth_it(LARGE)));
        assert!(prefetch.is_worth_it(LARGE), "the table may contain them by now");
    }
}
