//! Scans over the keys of a partition, which merge the overlay with the store.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::held::Held;
use super::partition::TablePartition;
use super::spec::TableValue;
use crate::error::Error;

/// Bounds of encoded keys.
pub(crate) type KeyBounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Encoded keys with what a scan keeps of their values.
type Found<T> = BTreeMap<Vec<u8>, T>;

/// Encoded keys with their values.
pub(crate) type Entries<V> = Vec<(Vec<u8>, V)>;

/// Maximum number of entries visited in one step of a scan.
const STEP: u32 = 4096;

/// The entries to visit.
struct Wanted<'a> {
    bounds: KeyBounds<'a>,
    keep: &'a dyn Fn(&[u8]) -> bool,
    /// Set to wait for values that an agent is changing, which is possible only outside its task.
    waits: bool,
}

/// All entries.
const ALL: Wanted<'static> = Wanted { bounds: (Bound::Unbounded, Bound::Unbounded), keep: &|_| true, waits: false };

impl<V: TableValue> TablePartition<V> {
    /// Returns copies of the entries between the bounds for whose keys `keep` is true, ordered by their encoded keys.
    pub(crate) fn scan(&self, bounds: KeyBounds<'_>, keep: &dyn Fn(&[u8]) -> bool) -> Result<Entries<V>, Error> {
        self.entries(&Wanted { bounds, keep, waits: false })
    }

    /// Returns copies of the entries between the bounds, for readers outside the task: waits while an agent changes one.
    /// Each is from some moment of the scan.
    pub(crate) fn scan_from_outside(&self, bounds: KeyBounds<'_>) -> Result<Entries<V>, Error> {
        self.entries(&Wanted { bounds, keep: &|_| true, waits: true })
    }

    /// Returns the encoded keys that have a value, in order.
    pub(crate) fn scan_keys(&self) -> Result<Vec<Vec<u8>>, Error> {
        Ok(self.collect(&ALL, |_| (), |_| ())?.into_keys().collect())
    }

    /// Returns the number of keys that have a value. If some entries are only in the store, this scans all of them, but
    /// holds only the keys of the overlay.
    pub(crate) fn count(&self) -> Result<usize, Error> {
        let state = self.state();
        if state.whole || self.cx.store.is_none() {
            return Ok(usize::try_from(state.overlay.live()).unwrap_or(0));
        }
        drop(state);
        let mut found = BTreeMap::new();
        let is_whole = self.collect_overlay(&ALL, &mut found, |_| ())?;
        let mut count = found.values().flatten().count();
        if !is_whole {
            self.visit_store(&ALL, |key, _| count += usize::from(!found.contains_key(key)))?;
        }
        Ok(count)
    }

    fn entries(&self, wanted: &Wanted<'_>) -> Result<Entries<V>, Error> {
        self.decode_all(self.collect(wanted, Held::clone, |bytes| Held::Bytes(bytes.into()))?)
    }

    /// Visits the wanted entries in bounded steps, with the lock released between them.
    ///
    /// IMPORTANT: the overlay comes before the store, since entries move from the one to the other only. An entry that
    /// is not in the overlay when its place is visited is in the store by the time that this is read.
    fn collect<T>(
        &self,
        wanted: &Wanted<'_>,
        of_held: impl Fn(&Held<V>) -> T,
        of_bytes: impl Fn(&[u8]) -> T,
    ) -> Result<Found<T>, Error> {
        let mut found = BTreeMap::new();
        let is_whole = self.collect_overlay(wanted, &mut found, of_held)?;
        if !is_whole {
            self.visit_store(wanted, |key, value| {
                if !found.contains_key(key) {
                    found.insert(key.to_vec(), Some(of_bytes(value)));
                }
            })?;
        }
        Ok(found.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }

    /// Passes the wanted entries of the store to `each`, in bounded steps.
    fn visit_store(&self, wanted: &Wanted<'_>, mut each: impl FnMut(&[u8], &[u8])) -> Result<(), Error> {
        let Some(store) = &self.cx.store else { return Ok(()) };
        let mut from = wanted.bounds.0.map(<[u8]>::to_vec);
        loop {
            let (mut visits, mut last, mut read) = (0, None, Ok(()));
            let mut visit = |key: &[u8], stored: &[u8]| {
                visits += 1;
                if (wanted.keep)(key) {
                    read = self.read_stored(stored).map(|entry| each(key, entry.value));
                }
                last = (visits == STEP).then(|| key.to_vec());
                last.is_none() && read.is_ok()
            };
            let low = from.as_ref().map(Vec::as_slice);
            store.range(low, wanted.bounds.1, &mut visit).map_err(|error| self.unreadable(&error))?;
            read?;
            let Some(last) = last else { return Ok(()) };
            from = Bound::Excluded(last);
        }
    }

    /// Visits the wanted entries of the overlay; `None` stands for a removed one. Returns whether the overlay was
    /// complete.
    fn collect_overlay<T>(
        &self,
        wanted: &Wanted<'_>,
        found: &mut Found<Option<T>>,
        of_held: impl Fn(&Held<V>) -> T,
    ) -> Result<bool, Error> {
        let mut next = 0;
        loop {
            let mut state = self.state();
            let end = state.overlay.places().min(next + STEP);
            while next < end {
                let entry = state.overlay.entry(next);
                if let Some((key, held)) = entry.filter(|(key, _)| contains(wanted.bounds, key) && (wanted.keep)(key)) {
                    if matches!(held, Held::Taken) {
                        if !wanted.waits {
                            return Err(self.misuse("is being changed while the table is iterated"));
                        }
                        state = self.wait_for_release(state);
                        continue;
                    }
                    found.insert(key.to_vec(), held.is_there().then(|| of_held(held)));
                }
                next += 1;
            }
            if next == state.overlay.places() {
                return Ok(state.whole);
            }
            drop(state);
            self.give_way();
        }
    }

    /// Decodes entries without the lock, because that takes long.
    fn decode_all(&self, found: Found<Held<V>>) -> Result<Entries<V>, Error> {
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
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::declare::TableDecl;
    use crate::store::{FakeStore, stored};
    use crate::table_state::partition::PartitionCx;
    use crate::table_state::spec::TableSpec;
    use crate::time::Timestamp;

    /// Law: a reader from outside sees the value before or after a change, never the gap between.
    #[test]
    fn readers_from_outside_wait_while_a_value_is_changed() {
        let spec = TableSpec::<u64>::new::<String>(&TableDecl::default(), "counts", "a test", "test");
        let partition = TablePartition::new(Arc::new(spec.expect("both types have codecs")), PartitionCx::alone());
        partition.set(b"a", Some(1), Timestamp(0)).expect("no store can fail");
        let (at, value) = partition.take_out(b"a", Timestamp(0)).expect("no store can fail");
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

    /// Law: each key counts once, wherever its value is, and a removed one does not count.
    #[test]
    fn keys_in_memory_and_in_the_store_are_counted_once() {
        let count = STEP + 100;
        let store = FakeStore::of((0..count).map(|key| (key.to_be_bytes().to_vec(), stored("1"))));
        let spec = TableSpec::<u64>::new::<String>(&TableDecl::default(), "counts", "a test", "test");
        let cx = PartitionCx { store: Some(store), ..PartitionCx::alone() };
        let partition = TablePartition::new(Arc::new(spec.expect("both types have codecs")), cx);
        let mut expected = count as usize;
        for (key, value, grows) in
            [(1, Some(2), 0), (2, None, -1), (3, None, -1), (count, Some(1), 1), (count + 1, None, 0)]
        {
            partition.set(&u32::to_be_bytes(key), value, Timestamp(0)).expect("the store does not fail");
            expected = expected.saturating_add_signed(grows);
            assert_eq!(partition.count().expect("the store does not fail"), expected);
            assert_eq!(partition.scan_keys().expect("the store does not fail").len(), expected);
        }
    }

    /// Law: another thread reads the table before a scan has visited all of it.
    #[test]
    fn a_scan_lets_others_have_the_table_in_between() {
        let spec = TableSpec::<u64>::new::<String>(&TableDecl::default(), "counts", "a test", "test");
        let partition = TablePartition::new(Arc::new(spec.expect("both types have codecs")), PartitionCx::alone());
        let count = 20 * STEP;
        for key in 0..count {
            partition.set(&key.to_be_bytes(), Some(1), Timestamp(0)).expect("no store can fail");
        }
        let (visits, has_read) = (Cell::new(0), Arc::new(AtomicBool::new(false)));
        let keep = |_: &[u8]| {
            visits.set(visits.get() + 1);
            if visits.get() == 1 {
                let (reader, has_read) = (Arc::clone(&partition), Arc::clone(&has_read));
                std::thread::spawn(move || {
                    assert_eq!(reader.find(&0u32.to_be_bytes()).expect("no store can fail"), Some(1));
                    has_read.store(true, Ordering::Release);
                });
                while partition.turn.try_lock().is_ok() {
                    std::thread::yield_now();
                }
            }
            if visits.get() == count {
                assert!(has_read.load(Ordering::Acquire), "the other thread has waited for the whole scan");
            }
            true
        };
        let all = partition.scan((Bound::Unbounded, Bound::Unbounded), &keep).expect("no store can fail");
        assert_eq!((all.len(), visits.get()), (count as usize, count));
    }
}
