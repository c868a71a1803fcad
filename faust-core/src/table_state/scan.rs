//! Scans over the keys of a partition, which merge the overlay with the store.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::held::Held;
use super::partition::{State, TablePartition};
use super::spec::TableValue;
use crate::error::Error;

/// Bounds of encoded keys.
pub(crate) type KeyBounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Encoded keys with what the partition holds of each.
type Found<V> = BTreeMap<Vec<u8>, Held<V>>;

/// Encoded keys with their values.
pub(crate) type Entries<V> = Vec<(Vec<u8>, V)>;

impl<V: TableValue> TablePartition<V> {
    /// Returns copies of the entries between the bounds for whose keys `keep` is true, ordered by their encoded keys.
    pub(crate) fn scan(&self, bounds: KeyBounds<'_>, keep: &dyn Fn(&[u8]) -> bool) -> Result<Entries<V>, Error> {
        let found = self.collect(&self.state(), bounds, keep)?;
        self.decode_all(found.ok_or_else(|| self.misuse("is being changed while the table is iterated"))?)
    }

    /// Returns copies of the entries between the bounds, for readers outside the task: waits while an agent changes one.
    pub(crate) fn scan_from_outside(&self, bounds: KeyBounds<'_>) -> Result<Entries<V>, Error> {
        let mut state = self.state();
        loop {
            if let Some(found) = self.collect(&state, bounds, &|_| true)? {
                drop(state);
                return self.decode_all(found);
            }
            state = self.wait_for_release(state);
        }
    }

    /// Returns `None` while a closure has one of the values.
    fn collect(
        &self,
        state: &State<V>,
        bounds: KeyBounds<'_>,
        keep: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Option<Found<V>>, Error> {
        let mut found = Found::new();
        if let Some(store) = self.cx.store.as_ref().filter(|_| !state.whole) {
            let mut each = |key: &[u8], value: &[u8]| {
                if keep(key) {
                    found.insert(key.to_vec(), Held::Bytes(value.into()));
                }
                true
            };
            store.range(bounds.0, bounds.1, &mut each).map_err(|error| self.broken(&error))?;
        }
        let within = |key: &[u8]| contains(bounds, key) && keep(key);
        for (_, key, held) in state.overlay.entries().filter(|(_, key, _)| within(key)) {
            match held {
                Held::Absent => {
                    found.remove(key);
                }
                Held::Taken => return Ok(None),
                held => {
                    found.insert(key.to_vec(), held.clone());
                }
            }
        }
        Ok(Some(found))
    }

    /// Decodes entries without the lock, because that takes long.
    fn decode_all(&self, found: Found<V>) -> Result<Entries<V>, Error> {
        let decode = |(key, held): (Vec<u8>, Held<V>)| match held {
            Held::Value(value) => Ok(Some((key, value))),
            Held::Bytes(bytes) => {
                let value = self.spec.value.decode(&bytes).map_err(|why| self.undecodable(&key, &why))?;
                Ok(Some((key, value)))
            }
            Held::Absent | Held::Taken => Ok(None),
        };
        found.into_iter().map(decode).filter_map(Result::transpose).collect()
    }

    /// Returns the number of keys that have a value. If some entries are only in the store, this scans all of them.
    pub(crate) fn count(&self) -> Result<usize, Error> {
        let state = self.state();
        let Some(store) = self.cx.store.as_ref().filter(|_| !state.whole) else {
            return Ok(usize::try_from(state.overlay.live()).unwrap_or(0));
        };
        let mut keys = BTreeSet::new();
        let mut each = |key: &[u8], _: &[u8]| {
            keys.insert(key.to_vec());
            true
        };
        store.range(Bound::Unbounded, Bound::Unbounded, &mut each).map_err(|error| self.broken(&error))?;
        for (_, key, held) in state.overlay.entries() {
            if held.is_there() {
                keys.insert(key.to_vec());
            } else {
                keys.remove(key);
            }
        }
        Ok(keys.len())
    }
}

fn contains(bounds: KeyBounds<'_>, key: &[u8]) -> bool {
    let above = match bounds.0 {
        Bound::Included(low) => key >= low,
        Bound::Excluded(low) => key > low,
        Bound::Unbounded => true,
    };
    let below = match bounds.1 {
        Bound::Included(high) => key <= high,
        Bound::Excluded(high) => key < high,
        Bound::Unbounded => true,
    };
    above && below
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::declare::TableDecl;
    use crate::table_state::partition::PartitionCx;
    use crate::table_state::spec::TableSpec;

    /// Law: a reader from outside sees the value before or after a change, never the gap between.
    #[test]
    fn readers_from_outside_wait_while_a_value_is_changed() {
        let spec = TableSpec::<u64>::new::<String>(&TableDecl::default(), "counts", "a test", "test");
        let partition = TablePartition::new(Arc::new(spec.expect("both types have codecs")), PartitionCx::alone());
        partition.set(b"a", Some(1)).expect("no store can fail");
        let (at, value) = partition.take_out(b"a").expect("no store can fail");
        let readers = [true, false].map(|one| {
            let partition = Arc::clone(&partition);
            std::thread::spawn(move || {
                let found = if one {
                    partition.find_from_outside(b"a").map(|found| found.into_iter().collect())
                } else {
                    let all = partition.scan_from_outside((Bound::Unbounded, Bound::Unbounded));
                    all.map(|all| all.into_iter().map(|(_, value)| value).collect::<Vec<_>>())
                };
                found.expect("no store can fail")
            })
        });
        while partition.state().waiting < readers.len() {
            std::thread::yield_now();
        }
        partition.give_back(at, value.map(|value| value + 1));
        for reader in readers {
            assert_eq!(reader.join().expect("no panic"), [2]);
        }
    }
}
