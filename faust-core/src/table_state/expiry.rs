//! Window expiry: once stream time has passed their end and grace period, windows are removed from the table, oldest
//! first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use super::held::Held;
use super::partition::{State, TablePartition};
use super::roles::{ClosedWindow, ExpireWindows};
use super::spec::TableValue;
use crate::error::Error;
use crate::time::Timestamp;
use crate::window::WindowSpec;
use crate::window::key::{split_store_key, store_key};

/// Maximum number of windows closed per call, so that closing does not delay other work for long.
const CLOSE_BATCH: usize = 256;

impl<V: TableValue> ExpireWindows for TablePartition<V> {
    fn expire(&self, stream_time: Timestamp, with_values: bool) -> Result<Vec<ClosedWindow>, Error> {
        let Some(spec) = self.spec.info.window else { return Ok(Vec::new()) };
        let mut state = self.state();
        if state.closing.is_empty() {
            let bound = spec.has_closed_before(stream_time);
            let from = state.closed_to;
            if from.is_none_or(|from| bound > from) {
                state.closing = self.expired(&mut state, from, bound)?;
                state.closed_to = Some(bound);
                self.closed_to.store(Some(bound));
            }
            if state.closing.is_empty() {
                self.due.store(Some(next_due(&spec, from.map_or(bound, |from| bound.max(from)))));
                return Ok(Vec::new());
            }
        }
        let mut closed = Vec::new();
        while closed.len() < CLOSE_BATCH {
            let Some(composite) = state.closing.pop_front() else { break };
            let Some(at) = self.load(&mut state, &composite)? else { continue };
            let Some((start, key)) = split_store_key(&composite).filter(|_| state.overlay.held(at).is_there()) else {
                continue;
            };
            let window = spec.window_at(start);
            let value = if with_values { self.encoded(&state, at)? } else { Vec::new() };
            closed.push(ClosedWindow { key: key.to_vec(), window, value });
            state.overlay.write(at);
            state.overlay.put(at, Held::Absent);
        }
        Ok(closed)
    }

    fn closed_to(&self) -> Option<Timestamp> {
        self.closed_to.load()
    }

    fn due(&self) -> Option<Timestamp> {
        self.due.load()
    }
}

impl<V: TableValue> TablePartition<V> {
    /// Returns the keys of windows that start before `bound`, oldest windows first. Those that start before `from` have
    /// been returned earlier.
    fn expired(
        &self,
        state: &mut State<V>,
        from: Option<Timestamp>,
        bound: Timestamp,
    ) -> Result<VecDeque<Vec<u8>>, Error> {
        if state.whole {
            return Ok(Self::expired_in_memory(state, bound));
        }
        let (low, high) = (from.map_or_else(Vec::new, prefix), prefix(bound));
        let mut keys = BTreeSet::new();
        if let Some(store) = &self.cx.store {
            let overlay = &mut state.overlay;
            let mut each = |key: &[u8], _: &[u8]| {
                // A removed key stays in the store until the store writer has processed the removal.
                if overlay.find(key).is_none_or(|at| overlay.held(at).is_there()) {
                    keys.insert(key.to_vec());
                }
                true
            };
            store
                .range(Bound::Included(&low), Bound::Excluded(&high), &mut each)
                .map_err(|error| self.broken(&error))?;
        }
        let within = |key: &[u8]| (&*low..&*high).contains(&key);
        let unwritten = state.overlay.unwritten().filter(|(_, key, held)| held.is_there() && within(key));
        keys.extend(unwritten.map(|(_, key, _)| key.to_vec()));
        Ok(keys.into_iter().collect())
    }

    fn expired_in_memory(state: &mut State<V>, bound: Timestamp) -> VecDeque<Vec<u8>> {
        let mut keys = VecDeque::new();
        while let Some(first) = state.starts.first_entry().filter(|first| *first.key() < bound) {
            let start = *first.key();
            // The slot may have been reused for another key since.
            let overlay = &state.overlay;
            let is_of_window = |at: &&u32| {
                overlay.held(**at).is_there() && split_store_key(overlay.key(**at)).is_some_and(|(at, _)| at == start)
            };
            let of_window: BTreeSet<_> =
                first.get().iter().filter(is_of_window).map(|at| overlay.key(*at).to_vec()).collect();
            keys.extend(of_window);
            first.remove();
        }
        keys
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
        state.closing.clear();
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
