//! Window expiry: once stream time has passed their end and grace period, windows are removed from the table, oldest
//! first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::vec::IntoIter;

use super::closing::{ClosingWindows, Uncollected};
use super::held::Held;
use super::overlay::UnwrittenPlace;
use super::partition::{State, TablePartition};
use super::roles::{ClosedWindow, ExpireWindows, Expired};
use super::spec::TableValue;
use crate::error::Error;
use crate::time::Timestamp;
use crate::window::WindowSpec;
use crate::window::key::{split_store_key, store_key};

/// Maximum number of windows closed per call, so that closing does not delay other work for long.
const CLOSE_BATCH: usize = 256;
/// Maximum number of entries visited per call to find the windows to close.
const VISIT_BATCH: usize = 4096;

/// Keys of the store, and the last key up to which they are complete; `None` if there are no more.
type StoredKeys = (BTreeSet<Vec<u8>>, Option<Vec<u8>>);

impl<V: TableValue> ExpireWindows for TablePartition<V> {
    fn expire(&self, stream_time: Timestamp, with_values: bool) -> Result<Expired, Error> {
        let Some(spec) = self.spec.info.window else { return Ok(Expired::default()) };
        let mut state = self.state();
        let bound = spec.has_closed_before(stream_time);
        let from = state.closed_to;
        if state.closing.is_none() && from.is_none_or(|from| bound > from) {
            let rest = Self::uncollected(&state, from);
            state.closing = Some(ClosingWindows { bound, keys: VecDeque::new(), rest });
            // From now on, events for these windows are late.
            state.closed_to = Some(bound);
            self.closed_to.store(Some(bound));
        }
        let keys = self.next_to_close(&mut state)?;
        if state.closing.is_none() {
            let closed_to = state.closed_to.unwrap_or(bound);
            self.due.store(Some(next_due(&spec, closed_to)));
            return Ok(Expired::default());
        }
        let (mut closed, mut keys) = (Vec::new(), VecDeque::from(keys));
        while let Some(composite) = keys.front() {
            match self.close(&mut state, &spec, composite, stream_time, with_values) {
                Ok(window) => closed.extend(window),
                Err(error) => {
                    Self::close_later(&mut state, keys);
                    // The windows that were removed must be returned; the next step fails.
                    return if closed.is_empty() { Err(error) } else { Ok(Expired { closed, has_more: true }) };
                }
            }
            keys.pop_front();
        }
        Ok(Expired { closed, has_more: true })
    }

    fn closed_to(&self) -> Option<Timestamp> {
        self.closed_to.load()
    }

    fn due(&self) -> Option<Timestamp> {
        self.due.load()
    }
}

impl<V: TableValue> TablePartition<V> {
    /// Removes the window of an overlay key, and returns it. Returns `None` if it has no value any more.
    fn close(
        &self,
        state: &mut State<V>,
        spec: &WindowSpec,
        composite: &[u8],
        stream_time: Timestamp,
        with_values: bool,
    ) -> Result<Option<ClosedWindow>, Error> {
        let Some(at) = self.load(state, composite)? else { return Ok(None) };
        let Some((start, key)) = split_store_key(composite).filter(|_| state.overlay.held(at).is_there()) else {
            return Ok(None);
        };
        let value = if with_values { self.encoded(state, at)? } else { Vec::new() };
        state.overlay.write(at, stream_time);
        state.overlay.put(at, Held::Absent);
        Ok(Some(ClosedWindow { key: key.to_vec(), window: spec.window_at(start), value }))
    }

    /// Returns keys that could not be closed to those that are to be closed.
    fn close_later(state: &mut State<V>, mut first: VecDeque<Vec<u8>>) {
        if let Some(closing) = &mut state.closing {
            first.append(&mut closing.keys);
            closing.keys = first;
        }
    }

    /// Returns the keys to close next. Ends the closing if there are none; after a step that has found none yet, there may
    /// be more.
    fn next_to_close(&self, state: &mut State<V>) -> Result<Vec<Vec<u8>>, Error> {
        let Some(mut closing) = state.closing.take() else { return Ok(Vec::new()) };
        let collected = self.collect_some(state, &mut closing);
        let count = closing.keys.len().min(CLOSE_BATCH);
        let next = if collected.is_ok() { closing.keys.drain(..count).collect() } else { Vec::new() };
        if !matches!(collected, Ok(false)) {
            state.closing = Some(closing);
        }
        collected.map(|_| next)
    }

    /// Collects keys unless there are some, in one step. Returns `false` if there are none left.
    ///
    /// # Errors
    /// The store cannot be read. The next call tries it again.
    fn collect_some(&self, state: &mut State<V>, closing: &mut ClosingWindows) -> Result<bool, Error> {
        let ClosingWindows { bound, keys, rest } = closing;
        let mut visits = VISIT_BATCH;
        while keys.is_empty() && visits > 0 {
            *rest = match std::mem::replace(rest, Uncollected::Nothing) {
                Uncollected::InMemory { start, .. } if !state.whole => Self::uncollected(state, Some(start)),
                Uncollected::InMemory { start, slots } => {
                    Self::collect_in_memory(state, keys, *bound, start, slots, &mut visits)
                }
                Uncollected::Unwritten { low, next, found } => {
                    Self::collect_unwritten(state, *bound, low, next, found, &mut visits)
                }
                Uncollected::Stored { low, unwritten } => {
                    match self.stored_keys(state, *bound, &low, &unwritten, &mut visits) {
                        Ok(stored) => Self::collect_stored(keys, stored, unwritten),
                        Err(error) => {
                            *rest = Uncollected::Stored { low, unwritten };
                            return Err(error);
                        }
                    }
                }
                Uncollected::Nothing => return Ok(false),
            };
        }
        Ok(true)
    }

    /// Begins to collect the keys of windows that start at `from` or later.
    fn uncollected(state: &State<V>, from: Option<Timestamp>) -> Uncollected {
        if state.whole {
            return Uncollected::InMemory { start: from.unwrap_or(Timestamp(i64::MIN)), slots: Vec::new().into_iter() };
        }
        let low = from.map_or_else(Vec::new, prefix);
        Uncollected::Unwritten { low, next: UnwrittenPlace::default(), found: BTreeSet::new() }
    }

    /// Collects keys of one window, or goes on to the next window.
    fn collect_in_memory(
        state: &mut State<V>,
        keys: &mut VecDeque<Vec<u8>>,
        bound: Timestamp,
        start: Timestamp,
        mut slots: IntoIter<u32>,
        visits: &mut usize,
    ) -> Uncollected {
        if slots.len() == 0 {
            return match state.starts.first_entry().filter(|first| *first.key() < bound) {
                Some(first) => Uncollected::InMemory { start: *first.key(), slots: first.remove().into_iter() },
                None => Uncollected::Nothing,
            };
        }
        // The slot may have been reused for another key since.
        let overlay = &state.overlay;
        let of_window = taken(&mut slots, visits).filter_map(|at| {
            let (key, held) = overlay.entry(at)?;
            let is_of_window = held.is_there() && split_store_key(key).is_some_and(|(at, _)| at == start);
            is_of_window.then(|| key.to_vec())
        });
        let of_window: BTreeSet<_> = of_window.collect();
        keys.extend(of_window);
        Uncollected::InMemory { start, slots }
    }

    /// Looks for keys of closed windows among the entries that are not in the store.
    fn collect_unwritten(
        state: &State<V>,
        bound: Timestamp,
        low: Vec<u8>,
        mut next: UnwrittenPlace,
        mut found: BTreeSet<Vec<u8>>,
        visits: &mut usize,
    ) -> Uncollected {
        let Some(slots) = state.overlay.unwritten(&mut next, visits) else {
            return Uncollected::Stored { low: Bound::Included(low), unwritten: found };
        };
        let high = prefix(bound);
        let entries = slots.into_iter().filter_map(|at| state.overlay.entry(at));
        let expired = entries.filter(|(key, held)| held.is_there() && (&*low..&*high).contains(key));
        found.extend(expired.map(|(key, _)| key.to_vec()));
        Uncollected::Unwritten { low, next, found }
    }

    /// Returns the next keys of closed windows in the store. A step that ends because of the keys in `unwritten` is complete
    /// up to one of them.
    fn stored_keys(
        &self,
        state: &mut State<V>,
        bound: Timestamp,
        low: &Bound<Vec<u8>>,
        unwritten: &BTreeSet<Vec<u8>>,
        visits: &mut usize,
    ) -> Result<StoredKeys, Error> {
        let (high, mut last) = (prefix(bound), None);
        // The keys up to the last of those that a step may take from memory.
        let memory_end = unwritten.iter().nth(VISIT_BATCH - 1).cloned();
        let to = memory_end.as_deref().map_or(Bound::Excluded(&*high), Bound::Included);
        let mut found = BTreeSet::new();
        if let Some(store) = &self.cx.store {
            let overlay = &mut state.overlay;
            let mut each = |key: &[u8], _: &[u8]| {
                *visits -= 1;
                // A removed key stays in the store until the store writer has processed the removal.
                if overlay.find(key).is_none_or(|at| overlay.held(at).is_there()) {
                    found.insert(key.to_vec());
                }
                last = (*visits == 0).then(|| key.to_vec());
                last.is_none()
            };
            store.range(low.as_ref().map(Vec::as_slice), to, &mut each).map_err(|error| self.unreadable(&error))?;
        }
        Ok((found, last.or(memory_end)))
    }

    /// Collects keys of the store, in order, with those that are not in the store yet.
    fn collect_stored(
        keys: &mut VecDeque<Vec<u8>>,
        (mut found, last): StoredKeys,
        mut unwritten: BTreeSet<Vec<u8>>,
    ) -> Uncollected {
        let Some(last) = last else {
            found.append(&mut unwritten);
            keys.extend(found);
            return Uncollected::Nothing;
        };
        let mut later = unwritten.split_off(&last);
        found.extend(later.take(&last));
        found.append(&mut unwritten);
        keys.extend(found);
        Uncollected::Stored { low: Bound::Excluded(last), unwritten: later }
    }

    /// Indexes an entry by its window's start. Only a complete overlay needs the index: otherwise the store is
    /// searched.
    pub(super) fn note_start(&self, state: &mut State<V>, key: &[u8], at: u32) {
        if state.whole
            && self.spec.info.window.is_some()
            && let Some((start, _)) = split_store_key(key)
        {
            state.starts.entry(start).or_default().push(at);
        }
    }

    /// Rebuilds the window index after a rollback, which may have brought back removed windows.
    pub(super) fn reindex(&self, state: &mut State<V>) {
        if self.spec.info.window.is_none() {
            return;
        }
        state.closed_to = None;
        state.closing = None;
        self.closed_to.store(None);
        self.due.store(None);
        if state.whole {
            let mut starts: BTreeMap<Timestamp, Vec<u32>> = BTreeMap::new();
            // Including entries without a value: a later write to their key reuses the entry.
            for (at, key, _) in state.overlay.entries() {
                if let Some((start, _)) = split_store_key(key) {
                    starts.entry(start).or_default().push(at);
                }
            }
            state.starts = starts;
        }
    }

    /// Returns the encoded value of an entry; empty if it has none.
    fn encoded(&self, state: &State<V>, at: u32) -> Result<Vec<u8>, Error> {
        match state.overlay.held(at) {
            Held::Bytes(bytes) => Ok(bytes.to_vec()),
            Held::Value(value) => {
                let mut bytes = Vec::new();
                let encoded = self.spec.value.encode(value, &mut bytes);
                encoded.map_err(|why| self.refused(state.overlay.key(at), &why))?;
                Ok(bytes)
            }
            Held::Absent | Held::Taken => Ok(Vec::new()),
        }
    }
}

/// Takes slots until the visits are used up.
fn taken<'a>(slots: &'a mut IntoIter<u32>, visits: &mut usize) -> impl Iterator<Item = u32> + use<'a> {
    let count = slots.len().min(*visits);
    *visits -= count;
    slots.by_ref().take(count)
}

/// Returns the smallest store key of a window that starts at `start`.
fn prefix(start: Timestamp) -> Vec<u8> {
    let mut key = Vec::with_capacity(8);
    store_key(start, &[], &mut key);
    key
}

/// Returns the stream time at which the earliest remaining window closes.
fn next_due(spec: &WindowSpec, closed_to: Timestamp) -> Timestamp {
    spec.closes_at(spec.window_at(spec.next_start(closed_to)))
}

#[cfg(test)]
mod tests;
