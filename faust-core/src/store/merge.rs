//! Makes one write of many batches: the newest value of each key, in the order of the keys.

use super::{Sealed, Write};

/// The batches come oldest first.
pub(super) fn merge<'a>(batches: impl Iterator<Item = &'a Sealed> + Clone) -> Vec<Write<'a>> {
    let mut all = Vec::with_capacity(batches.clone().map(Sealed::len).sum());
    all.extend(batches.flat_map(Sealed::iter).map(|entry| (entry.key, entry.value)));
    // The sort is stable: of equal keys the newest stays last.
    all.sort_by_key(|(key, _)| *key);
    all.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 = next.1;
        }
        same
    });
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::tests::{Change, sealed};

    proptest! {
        /// Law: what is left is what remains when all changes are made one by one, with removals kept.
        #[test]
        fn the_newest_of_each_key_is_left(batches: Vec<Vec<(u8, Option<u8>)>>) {
            let mut expected = BTreeMap::new();
            let batches: Vec<Sealed> = batches.iter().map(|batch| {
                let changes = batch.iter().map(|(key, value)| (vec![*key], value.map(|value| vec![value])));
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
