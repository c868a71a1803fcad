//! Looking keys up before they are asked for.
//!
//! In a table of a million keys a look-up is four reads of memory, each of which waits for the one before: a place in the
//! index, the number there, the entry, its key. An agent asks for one key after the other, and the processor can do
//! nothing meanwhile. The keys of a batch of messages are known when it has been read, and a table is mostly asked for
//! those: looked up together, in a loop without anything else, they wait at the same time.

use std::sync::Arc;

/// Keys of messages that have been read and not been handed out.
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

    /// One key after the other.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| self.bytes.get(start..end).unwrap_or_default())
    }
}

/// Bytes of a key above which it is not worth the copy.
const LONGEST: usize = 1024;
/// Entries below which a table stays near the processor anyway.
const LARGE: usize = 8192;
/// Batches for which a table is left alone when its keys were others.
const REST: u32 = 256;

/// Whether a table's keys are those of the messages: seen from whether it has them.
#[derive(Debug, Default)]
pub(crate) struct Prefetch {
    rest: u32,
}

impl Prefetch {
    /// Whether to look a batch up, in a table of so many entries. Asked once for each batch.
    pub(crate) fn is_worth_it(&mut self, entries: usize) -> bool {
        if self.rest > 0 {
            self.rest -= 1;
            return false;
        }
        entries >= LARGE
    }

    /// So many of the batch's keys are in the table.
    pub(crate) fn learn(&mut self, found: usize, batch: &KeyBatch) {
        if found < batch.len().div_ceil(4) {
            self.rest = REST;
        }
    }
}

/// A table that can look up keys before they are asked for.
pub(crate) trait Prefetchable: Send + Sync {
    /// Looks up the keys of a batch of messages, as far as some table wanted them. Returns whether this table does.
    fn prefetch(&self, keys: &KeyBatch) -> bool;
}

/// What the beginning of a stream does for the tables of its stage, with each batch that it reads.
pub(crate) struct Prefetcher {
    tables: Vec<Arc<dyn Prefetchable>>,
    /// Some table wanted the keys of the batch before, and so will have those of the present one.
    wanted: bool,
    keys: KeyBatch,
}

impl Prefetcher {
    pub(crate) fn new(tables: Vec<Arc<dyn Prefetchable>>) -> Self {
        Self { tables, wanted: false, keys: KeyBatch::default() }
    }

    /// A message has this key.
    pub(crate) fn note(&mut self, key: Option<&[u8]>) {
        if !self.wanted {
            return;
        }
        if let Some(key) = key.filter(|key| key.len() <= LONGEST) {
            self.keys.push(key);
        }
    }

    /// A batch has been read, and none of it handed out.
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

    #[test]
    fn a_batch_gives_its_keys_back() {
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
        assert_eq!(batch(0..9), (0, false), "it is small");
        for key in 0..LARGE {
            partition.set(&key.to_be_bytes(), Some(1)).expect("it is nobody else's");
        }
        assert_eq!(batch(0..9), (0, true), "it is large now");
        assert_eq!(batch(0..9), (9, true));
        assert_eq!(batch(LARGE..LARGE + 9), (9, true));
        assert_eq!(batch(0..9), (9, false), "its keys were others");
        assert_eq!(batch(0..9), (0, false));
    }

    #[test]
    fn a_table_of_other_keys_is_left_alone_for_a_while() {
        let (mut prefetch, mut batch) = (Prefetch::default(), KeyBatch::default());
        (0..8).for_each(|_| batch.push(b"key"));
        assert!(!prefetch.is_worth_it(LARGE - 1), "a small table is near anyway");
        assert!(prefetch.is_worth_it(LARGE));
        prefetch.learn(2, &batch);
        assert!(prefetch.is_worth_it(LARGE), "a quarter is enough");
        prefetch.learn(1, &batch);
        assert!((0..REST).all(|_| !prefetch.is_worth_it(LARGE)));
        assert!(prefetch.is_worth_it(LARGE), "it may have got them since");
    }
}
