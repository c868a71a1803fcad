//! Makes one write of many batches: the newest value of each key, in the order of the keys.

use super::port::Write;
use super::sealed::Sealed;

/// The batches come oldest first.
pub(super) fn merge<'a>(batches: impl Iterator<Item = &'a Sealed> + Clone) -> Vec<Write<'a>> {
    let mut all: Vec<Write<'a>> = Vec::with_capacity(batches.clone().map(Sealed::len).sum());
    all.extend(batches.flat_map(Sealed::iter).map(|entry| (entry.key, entry.value)));
    let mut merged: Vec<Write<'a>> = Vec::with_capacity(all.len());
    let mut last = None;
    for (head, index) in order(&all) {
        let write = all[index];
        match merged.last_mut() {
            Some(kept) if last == Some(head) && kept.0 == write.0 => *kept = write,
            _ => merged.push(write),
        }
        last = Some(head);
    }
    merged
}

/// The heads and indices of the writes, by key, and of equal keys as they came.
///
/// Keys lie all over memory, and to compare two costs two misses of the cache. So what is sorted are their heads, the
/// first eight bytes after those that all have in common; the keys decide only where heads are equal.
fn order(writes: &[Write<'_>]) -> Vec<(u64, usize)> {
    let common = writes.iter().fold(writes.first().map_or(0, |first| first.0.len()), |common, (key, _)| {
        let first = &writes[0].0[..common];
        first.iter().zip(*key).take_while(|(ours, theirs)| ours == theirs).count()
    });
    let mut heads: Vec<_> = writes.iter().map(|(key, _)| head(&key[common..])).zip(0..).collect();
    heads.sort_unstable_by(|(head, index), (other_head, other): &(u64, usize)| {
        let keys = || writes[*index].0.cmp(writes[*other].0);
        head.cmp(other_head).then_with(keys).then_with(|| index.cmp(other))
    });
    heads
}

/// Of two keys with different heads, that with the smaller head is the smaller. A short key is filled up with zeros.
fn head(key: &[u8]) -> u64 {
    let mut head = [0; 8];
    let taken = key.len().min(8);
    head[..taken].copy_from_slice(&key[..taken]);
    u64::from_be_bytes(head)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::tests::{Change, sealed};

    /// Keys that share beginnings, and differ before and behind what is sorted by.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        let bytes = prop_oneof![Just(0_u8), Just(b'a'), Just(255)];
        (prop_oneof![Just(&b""[..]), Just(&b"a"[..]), Just(&b"aaaaaaaa"[..])], prop::collection::vec(bytes, 0..11))
            .prop_map(|(start, end)| [start, &end].concat())
    }

    proptest! {
        /// Law: what is left is what remains when all changes are made one by one, with removals kept.
        #[test]
        fn the_newest_of_each_key_is_left(
            batches in prop::collection::vec(prop::collection::vec((key(), any::<Option<u8>>()), 0..20), 0..8)
        ) {
            let mut expected = BTreeMap::new();
            let batches: Vec<Sealed> = batches.iter().map(|batch| {
                let changes = batch.iter().map(|(key, value)| (key.clone(), value.map(|value| vec![value])));
                let changes: Vec<Change> = changes.collect();
                expected.extend(changes.iter().cloned());
                sealed(&changes)
            }).collect();
            let merged: Vec<Change> =
                merge(batches.iter()).into_iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect();
            prop_assert_eq!(merged, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
