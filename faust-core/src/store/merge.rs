//! Merging of batches into one write: the newest value of each key, in the order of the keys.

use super::port::Write;
use super::sealed::Sealed;

/// Merges batches, the oldest of which comes first.
pub(super) fn merge<'a>(batches: impl Iterator<Item = &'a Sealed> + Clone) -> Vec<Write<'a>> {
    let mut all: Vec<Write<'a>> = Vec::with_capacity(batches.clone().map(Sealed::len).sum());
    all.extend(batches.flat_map(Sealed::iter).map(|entry| (entry.key, entry.stored)));
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

/// Returns the heads and indices of the writes, ordered by key and, for equal keys, by index.
///
/// Keys are scattered in memory, and comparing two of them costs two cache misses. Therefore the function sorts the
/// keys' heads, which are the first eight bytes after the prefix common to all keys, and compares keys only if their
/// heads are equal.
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

/// Returns the head of a key. Keys with different heads have the same order as their heads. Short keys are padded with
/// zeros.
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
    use crate::store::tests::{Change, sealed, stored};

    /// Generates keys that share prefixes, and differ within and after the heads.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        let bytes = prop_oneof![Just(0_u8), Just(b'a'), Just(255)];
        (prop_oneof![Just(&b""[..]), Just(&b"a"[..]), Just(&b"aaaaaaaa"[..])], prop::collection::vec(bytes, 0..11))
            .prop_map(|(start, end)| [start, &end].concat())
    }

    proptest! {
        /// Law: merging has the result of applying all changes one by one, with removals kept.
        #[test]
        fn merging_keeps_the_newest_change_of_each_key(
            batches in prop::collection::vec(prop::collection::vec((key(), any::<Option<u8>>()), 0..20), 0..8)
        ) {
            let mut expected = BTreeMap::new();
            let batches: Vec<Sealed> = batches.iter().map(|batch| {
                let changes = batch.iter().map(|(key, value)| (key.clone(), value.map(|value| vec![value])));
                let changes: Vec<Change> = changes.collect();
                expected.extend(changes.iter().cloned().map(|(key, value)| (key, value.map(stored))));
                sealed(&changes)
            }).collect();
            let merged: Vec<Change> =
                merge(batches.iter()).into_iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect();
            prop_assert_eq!(merged, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
