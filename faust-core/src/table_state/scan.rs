//! Going over many keys of a partition: what the overlay holds, laid over what the store holds.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::held::Held;
use super::partition::TablePartition;
use super::spec::TableValue;
use crate::error::Error;

/// Bounds of encoded keys.
pub(crate) type KeyBounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Encoded keys with their values.
pub(crate) type Entries<V> = Vec<(Vec<u8>, V)>;

impl<V: TableValue> TablePartition<V> {
    /// Copies of the entries between the bounds for whose keys `keep` is true, in the order of their encoded keys.
    pub(crate) fn scan(&self, bounds: KeyBounds<'_>, keep: &dyn Fn(&[u8]) -> bool) -> Result<Entries<V>, Error> {
        let found = self.try_scan(bounds, keep)?;
        found.ok_or_else(|| self.misuse("is being changed while the table is gone over"))
    }

    /// The same for those outside the task: they wait while an agent changes a value.
    pub(crate) fn scan_from_outside(&self, bounds: KeyBounds<'_>) -> Result<Entries<V>, Error> {
        loop {
            if let Some(found) = self.try_scan(bounds, &|_| true)? {
                return Ok(found);
            }
            std::thread::yield_now();
        }
    }

    /// `None` while a closure has one of the values.
    fn try_scan(&self, bounds: KeyBounds<'_>, keep: &dyn Fn(&[u8]) -> bool) -> Result<Option<Entries<V>>, Error> {
        let state = self.state();
        let mut found: BTreeMap<Vec<u8>, Held<V>> = BTreeMap::new();
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
        // Decoding takes its time, and the lock may be wanted.
        drop(state);
        let decode = |(key, held): (Vec<u8>, Held<V>)| match held {
            Held::Value(value) => Ok(Some((key, value))),
            Held::Bytes(bytes) => {
                let value = self.spec.value.decode(Some(&bytes)).map_err(|why| self.undecodable(&why.to_string()))?;
                Ok(Some((key, value)))
            }
            Held::Absent | Held::Taken => Ok(None),
        };
        found.into_iter().map(decode).filter_map(Result::transpose).collect::<Result<_, _>>().map(Some)
    }

    /// How many keys have a value. Where the store holds more than memory does, this goes over all of them.
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
