//! How windows end: once stream time is past their end and grace, they leave the table, oldest first.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::Ordering;

use super::{Cell, Held, State, TableValue};
use crate::error::Error;
use crate::window::key::{split_store_key, store_key};
use crate::window::{Window, WindowSpec};

/// A window of one key that has ended.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) key: Vec<u8>,
    pub(crate) window: Window,
    /// Its last value as the codec writes it; empty if nobody asked.
    pub(crate) value: Vec<u8>,
}

/// Windows that are closed at a time, between two looks at everything else.
const CLOSE_BATCH: usize = 256;

impl<V: TableValue> Cell<V> {
    pub(super) fn expire_some(&self, stream_time: i64, with_values: bool) -> Result<Vec<Closed>, Error> {
        let Some(spec) = self.spec.info.window else { return Ok(Vec::new()) };
        let bound = spec.has_closed_before(stream_time.into());
        let mut state = self.state();
        let from = state.closed_to.unwrap_or(i64::MIN);
        let keys = if bound > from { self.expired(&mut state, from, bound)? } else { Vec::new() };
        let mut closed = Vec::with_capacity(keys.len());
        for composite in &keys {
            let Some(at) = self.load(&mut state, composite)? else { continue };
            let Some((start, key)) = split_store_key(composite) else { continue };
            let window = spec.window_at(start);
            let value = if with_values { self.encoded(&state, at)? } else { Vec::new() };
            closed.push(Closed { key: key.to_vec(), window, value });
            state.overlay.write(at);
            state.overlay.put(at, Held::Absent);
        }
        if keys.is_empty() {
            state.closed_to = Some(bound.max(from));
            self.due.store(next_due(&spec, bound.max(from)), Ordering::Relaxed);
        }
        Ok(closed)
    }

    /// The oldest keys whose windows start before `bound`, all of one window or of several.
    fn expired(&self, state: &mut State<V>, from: i64, bound: i64) -> Result<Vec<Vec<u8>>, Error> {
        if state.whole {
            return Ok(Self::expired_in_memory(state, bound));
        }
        let (low, high) = (prefix(from), prefix(bound));
        let mut keys = std::collections::BTreeSet::new();
        if let Some(store) = &self.cx.store {
            let overlay = &mut state.overlay;
            let mut each = |key: &[u8], _: &[u8]| {
                // What was removed already stays in the store until its writer comes to it.
                let is_there = overlay.find(key).is_none_or(|at| overlay.held(at).is_there());
                if is_there {
                    keys.insert(key.to_vec());
                }
                keys.len() < CLOSE_BATCH
            };
            store
                .range(Bound::Included(&low), Bound::Excluded(&high), &mut each)
                .map_err(|error| self.broken(&error))?;
        }
        let within = |key: &[u8]| (&*low..&*high).contains(&key);
        let mut take = |key: &[u8], held: &Held<V>| {
            if held.is_there() && within(key) {
                keys.insert(key.to_vec());
            }
        };
        state.overlay.unwritten().for_each(|(_, key, held)| take(key, held));
        Ok(keys.into_iter().take(CLOSE_BATCH).collect())
    }

    fn expired_in_memory(state: &mut State<V>, bound: i64) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        while keys.len() < CLOSE_BATCH {
            let Some(first) = state.starts.first_entry().filter(|first| *first.key() < bound) else { break };
            let start = *first.key();
            // A slot may have been given to another key since.
            let overlay = &state.overlay;
            let is_of_window = |at: &&u32| {
                overlay.held(**at).is_there() && split_store_key(overlay.key(**at)).is_some_and(|(at, _)| at.0 == start)
            };
            let mut of_window: Vec<_> =
                first.get().iter().filter(is_of_window).map(|at| overlay.key(*at).to_vec()).collect();
            of_window.sort_unstable();
            of_window.dedup();
            keys.append(&mut of_window);
            first.remove();
        }
        keys
    }

    /// As long as the overlay is all there is, it has to know which entries belong to which window.
    pub(super) fn note_start(&self, state: &mut State<V>, key: &[u8], at: u32) {
        if state.whole
            && self.spec.info.window.is_some()
            && let Some((start, _)) = split_store_key(key)
        {
            state.starts.entry(start.0).or_default().push(at);
        }
    }

    /// After a roll-back windows may be there again that had gone.
    pub(super) fn reindex(&self, state: &mut State<V>) {
        if self.spec.info.window.is_none() {
            return;
        }
        state.closed_to = None;
        self.due.store(i64::MIN, Ordering::Relaxed);
        if state.whole {
            let mut starts: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
            // Those without a value too: what is written to them again is written in the same place.
            for (at, key, _) in state.overlay.entries() {
                if let Some((start, _)) = split_store_key(key) {
                    starts.entry(start.0).or_default().push(at);
                }
            }
            state.starts = starts;
        }
    }

    fn encoded(&self, state: &State<V>, at: u32) -> Result<Vec<u8>, Error> {
        match state.overlay.held(at) {
            Held::Bytes(bytes) => Ok(bytes.to_vec()),
            Held::Value(value) => {
                let mut bytes = Vec::new();
                let encoded = self.spec.value.encode(value, &mut bytes);
                encoded.map_err(|why| self.undecodable(&why.to_string()))?;
                Ok(bytes)
            }
            Held::Absent | Held::Taken => Ok(Vec::new()),
        }
    }
}

/// The smallest store key of a window that starts at `start`.
fn prefix(start: i64) -> Vec<u8> {
    let mut key = Vec::with_capacity(8);
    store_key(start.into(), &[], &mut key);
    key
}

/// When the window after those that are gone closes.
fn next_due(spec: &WindowSpec, closed_to: i64) -> i64 {
    spec.closes_at(spec.window_at(closed_to.into())).0
}
