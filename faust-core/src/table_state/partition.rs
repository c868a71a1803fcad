//! The state of a table in one partition: an overlay over an optional store. All agents of the partition's task share
//! it.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use tokio::sync::{Notify, mpsc};

use super::budget::CacheBudget;
use super::closing::ClosingWindows;
use super::held::Held;
use super::overlay::{DirtyKey, Overlay};
use super::prefetch::{KeyBatch, Prefetch, Prefetchable};
use super::roles::{AnyTablePartition, CommitState};
use super::spec::{TableInfo, TableSpec, TableValue};
use crate::codec::{DecodeError, EncodeError};
use crate::error::Error;
use crate::partitioner::partition_of;
use crate::stats::Stats;
use crate::store::{
    Job, Sealed, SealedBuilder, Store, StoreError, StoreErrorKind, StoreName, StoreWriter, StoredEntry,
};
use crate::time::{AtomicTimestamp, Timestamp};

/// The context in which a table partition is created.
#[derive(Clone)]
pub(crate) struct PartitionCx {
    pub(crate) partition: i32,
    /// Number of partitions of the table's topics.
    pub(crate) partitions: i32,
    pub(crate) store: Option<Arc<dyn Store>>,
    pub(crate) budget: Arc<CacheBudget>,
    pub(crate) stats: Arc<Stats>,
    /// Notified when so many keys have changed that a commit should not wait for its interval.
    pub(crate) commit_soon: Arc<Notify>,
    /// Maximum size of a changelog record, in bytes.
    pub(crate) max_record: u64,
    /// Channel that reports a broken store, which stops the worker; `None` for a table without a store.
    pub(crate) failed: Option<mpsc::UnboundedSender<Error>>,
}

impl PartitionCx {
    /// Returns the context of a standalone table: a single partition without changelog or store.
    pub(crate) fn alone() -> Self {
        Self {
            partition: 0,
            partitions: 1,
            store: None,
            budget: CacheBudget::new(u64::MAX),
            stats: Arc::default(),
            commit_soon: Arc::default(),
            max_record: u64::MAX,
            failed: None,
        }
    }
}

/// Number of changed keys of one table partition at which a commit is due before its interval, so that a single commit
/// does not send too many records. A lower limit would send frequently changed keys more often.
const COMMIT_SOON: usize = 500_000;
/// Approximate size of the changes at which a commit is due, for the same reason.
const COMMIT_SOON_BYTES: usize = 32 << 20;

/// Maximum size of the headers of a changelog record in bytes, without the metadata of the commit.
pub(crate) const RECORD_HEADERS: usize = 256;

/// Number of entries examined for eviction with each insertion.
const EVICT_LOOKS: usize = 16;

/// Number of entries examined for eviction with each cut, for tables that are not written to.
const TRIM_LOOKS: usize = 4096;

/// A table's state in one partition.
pub(crate) struct TablePartition<V> {
    pub(super) spec: Arc<TableSpec<V>>,
    pub(super) cx: PartitionCx,
    /// The lock is rarely contended: it is taken by the partition's task, by the store writer after a batch, and by
    /// reads from outside the task. User closures never run under the lock: the value is moved out while they run.
    state: Mutex<State<V>>,
    /// Held by the thread that is the next to have the lock, while it waits for it.
    pub(super) turn: Mutex<()>,
    /// Each written value is encoded, because a seal has failed and the event that is the cause is unknown.
    checks_writes: AtomicBool,
    /// Stream time at which the next window may close; `None` before the first check.
    pub(super) due: AtomicTimestamp,
    /// Copy of the state's `closed_to` that can be read without the lock.
    pub(super) closed_to: AtomicTimestamp,
    /// Wakes readers from outside when a value that was taken out is given back.
    released: Condvar,
    /// Reference for the store writer's callback, which may run after the partition has been dropped.
    this: Weak<Self>,
}

/// The mutable state of a table partition.
pub(super) struct State<V> {
    pub(super) overlay: Overlay<V>,
    /// The overlay is complete: a key that is not in it has no value.
    pub(super) whole: bool,
    /// Windows that start before this time have been closed; `None` before any has.
    pub(super) closed_to: Option<Timestamp>,
    /// The windows that are being closed.
    pub(super) closing: Option<ClosingWindows>,
    /// The entries of each window by its start, maintained while the overlay is complete.
    pub(super) starts: BTreeMap<Timestamp, Vec<u32>>,
    /// Readers from outside that wait for a value to be given back.
    pub(super) waiting: usize,
    /// Approximate encoded size of an entry at the last seal, so that the next seal can allocate its buffer at once.
    entry_bytes: usize,
    /// Number of changed keys at which a commit is due.
    commit_due: usize,
    prefetch: Prefetch,
}

impl<V: Clone> State<V> {
    /// Returns whether enough has changed that a commit is due. Returns true once, and then again only after as many
    /// further changes.
    #[inline]
    pub(super) fn is_commit_due(&mut self) -> bool {
        let dirty = self.overlay.dirty();
        let is_due = dirty >= self.commit_due;
        if is_due {
            self.commit_due = dirty + self.commit_step();
        }
        is_due
    }

    /// Returns the number of changed keys per early commit, given the typical size of an entry.
    fn commit_step(&self) -> usize {
        (COMMIT_SOON_BYTES / self.entry_bytes.max(1)).clamp(1, COMMIT_SOON)
    }

    /// Records that entries have been evicted, so that look-ups must also read the store from now on.
    pub(super) fn is_not_whole(&mut self) {
        self.whole = false;
        self.starts.clear();
    }
}

impl<V: TableValue> TablePartition<V> {
    pub(crate) fn new(spec: Arc<TableSpec<V>>, cx: PartitionCx) -> Arc<Self> {
        let overlay = Overlay::new(Arc::clone(&cx.budget));
        let state = State {
            overlay,
            whole: cx.store.is_none(),
            closed_to: None,
            closing: None,
            entry_bytes: 0,
            commit_due: COMMIT_SOON,
            starts: BTreeMap::new(),
            waiting: 0,
            prefetch: Prefetch::default(),
        };
        Arc::new_cyclic(|this| Self {
            spec,
            cx,
            state: Mutex::new(state),
            turn: Mutex::new(()),
            checks_writes: AtomicBool::new(false),
            due: AtomicTimestamp::new(None),
            closed_to: AtomicTimestamp::new(None),
            released: Condvar::new(),
            this: Weak::clone(this),
        })
    }

    pub(crate) fn spec(&self) -> &TableSpec<V> {
        &self.spec
    }

    /// Returns a copy of the value of a key.
    pub(crate) fn find(&self, key: &[u8]) -> Result<Option<V>, Error> {
        let found = self.try_find(&mut self.state(), key)?;
        found.ok_or_else(|| self.misuse("is read inside its own update; use the value passed to the closure"))
    }

    /// Returns a copy of the value of a key, for readers outside the task: waits while an agent changes the value.
    pub(crate) fn find_from_outside(&self, key: &[u8]) -> Result<Option<V>, Error> {
        let mut state = self.state();
        loop {
            if let Some(found) = self.try_find(&mut state, key)? {
                return Ok(found);
            }
            state = self.wait_for_release(state);
        }
    }

    /// Waits until a value that was taken out is given back.
    pub(super) fn wait_for_release<'a>(&self, mut state: MutexGuard<'a, State<V>>) -> MutexGuard<'a, State<V>> {
        state.waiting += 1;
        let mut state = self.released.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state
    }

    /// Returns `None` while a closure has the value.
    fn try_find(&self, state: &mut State<V>, key: &[u8]) -> Result<Option<Option<V>>, Error> {
        let Some(at) = self.load_for_read(state, key)? else { return Ok(Some(None)) };
        Ok(match self.decoded(state, at)? {
            Held::Value(value) => Some(Some(value.clone())),
            Held::Taken => None,
            Held::Absent | Held::Bytes(_) => Some(None),
        })
    }

    /// Returns whether a key has a value.
    pub(crate) fn contains(&self, key: &[u8]) -> Result<bool, Error> {
        let mut state = self.state();
        let at = self.load_for_read(&mut state, key)?;
        Ok(at.is_some_and(|at| state.overlay.held(at).is_there()))
    }

    /// Moves the value of a key out for reading. If this returns a slot, [`give_back`](Self::give_back) must follow.
    pub(crate) fn take_to_look(&self, key: &[u8]) -> Result<Option<(u32, V)>, Error> {
        let mut state = self.state();
        let Some(at) = self.load_for_read(&mut state, key)? else { return Ok(None) };
        match self.decoded(&mut state, at)? {
            Held::Taken => Err(self.misuse("is read inside its own update; use the value passed to the closure")),
            Held::Absent | Held::Bytes(_) => Ok(None),
            Held::Value(_) => match state.overlay.put(at, Held::Taken) {
                Held::Value(value) => Ok(Some((at, value))),
                _ => Ok(None),
            },
        }
    }

    /// Wakes readers from outside, since a value was given back.
    #[inline]
    pub(super) fn notify_waiting(&self, state: &State<V>) {
        if state.waiting > 0 {
            self.released.notify_all();
        }
    }

    /// Returns the entry of a key, loading it from the store if necessary. Returns `None` if the key has no entry; the
    /// entry of a removed key has no value.
    pub(super) fn load(&self, state: &mut State<V>, key: &[u8]) -> Result<Option<u32>, Error> {
        if let Some(at) = state.overlay.find(key) {
            return Ok(Some(at));
        }
        let Some(store) = self.cx.store.as_ref().filter(|_| !state.whole) else { return Ok(None) };
        match store.get(key).map_err(|error| self.unreadable(&error))? {
            Some(stored) => {
                let StoredEntry { time, value } = self.read_stored(&stored)?;
                Ok(Some(self.insert(state, key, Held::Bytes(value.into()), time)))
            }
            None => Ok(None),
        }
    }

    /// Like [`load`](Self::load). A key without an entry may belong to another partition, which is checked only then.
    fn load_for_read(&self, state: &mut State<V>, key: &[u8]) -> Result<Option<u32>, Error> {
        let at = self.load(state, key)?;
        if at.is_none() {
            self.check_place(key);
        }
        Ok(at)
    }

    pub(super) fn read_stored<'a>(&self, stored: &'a [u8]) -> Result<StoredEntry<'a>, Error> {
        StoredEntry::read(stored).ok_or_else(|| {
            self.state_error(
                "its store holds an entry without a time; run `reset` to restore from the changelog".into(),
            )
        })
    }

    pub(super) fn insert(&self, state: &mut State<V>, key: &[u8], held: Held<V>, time: Timestamp) -> u32 {
        // Evict before inserting, so that the new entry is not the one evicted.
        if self.cx.store.is_some() && state.overlay.evict(EVICT_LOOKS) {
            state.is_not_whole();
        }
        let at = state.overlay.insert(key, held, time);
        self.note_start(state, key, at);
        at
    }

    #[inline]
    pub(super) fn decoded<'a>(&self, state: &'a mut State<V>, at: u32) -> Result<&'a Held<V>, Error> {
        if let Held::Bytes(_) = state.overlay.held(at) {
            self.decode(state, at)?;
        }
        Ok(state.overlay.held(at))
    }

    #[cold]
    fn decode(&self, state: &mut State<V>, at: u32) -> Result<(), Error> {
        if let Held::Bytes(bytes) = state.overlay.held(at) {
            let value = self.spec.value.decode(bytes).map_err(|why| self.undecodable(state.overlay.key(at), &why))?;
            *state.overlay.held_mut(at) = Held::Value(value);
        }
        Ok(())
    }

    /// Counts a key that belongs to another partition, and warns about the first one. Such keys are read or written by a
    /// stream that is not grouped by the table's key, the most common mistake with tables.
    pub(super) fn check_place(&self, key: &[u8]) {
        let info = &self.spec.info;
        let plain = info.plain_key(key);
        // Messages without a key are in any partition, so `None` has no owner.
        if info.partition_by_source || self.cx.partitions == 1 || info.is_none(plain) {
            return;
        }
        let owner = partition_of(plain, self.cx.partitions);
        if owner != self.cx.partition {
            self.cx.stats.misplaced_key();
            if !self.spec.has_misplaced.swap(true, Ordering::Relaxed) {
                self.warn_misplaced(key, owner);
            }
        }
    }

    #[cold]
    fn warn_misplaced(&self, key: &[u8], owner: i32) {
        let info = &self.spec.info;
        let (table, partition, key) = (&info.name, self.cx.partition, info.shown_key(key));
        tracing::warn!(
            %table,
            partition,
            "key {key} belongs to partition {owner}: a read here does not find its value, and a write gives it another one; add a `group_by` before the table, or set `#[table(partition_by_source)]` if another partitioner placed the key (book: Keys in the right partition)"
        );
    }

    pub(super) fn misuse(&self, what: &str) -> Error {
        Error::Misuse(format!("table `{}`: a key {what}", self.spec.info.name))
    }

    /// Creates the error of a failed read. A broken store is reported as well, because it fails every further read until
    /// it is set aside, which happens when the worker starts.
    pub(super) fn unreadable(&self, error: &StoreError) -> Error {
        let why = format!("its store cannot be read: {error}");
        if error.kind() == StoreErrorKind::Broken {
            self.stop_worker(why.clone());
        }
        self.state_error(why)
    }

    pub(super) fn undecodable(&self, key: &[u8], why: &DecodeError) -> Error {
        let codec = self.spec.value.name();
        self.state_error(format!(
            "the value of key {} cannot be decoded by codec `{codec}` as type `{}`: {why}; `set` or `remove` the key, give a new field a default with `#[field(default)]`, or raise the app's `version` to start over (book: Changing a record)",
            self.shown(key),
            self.spec.info.value_type
        ))
    }

    /// Creates the error of a value that could not be read back.
    pub(super) fn refused(&self, key: &[u8], why: &EncodeError) -> Error {
        self.spec.info.refused(format!("the value of key {}", self.shown(key)), why)
    }

    /// Checks that the changelog accepts the record of an entry.
    fn check_size(&self, key: &[u8], value: usize) -> Result<(), Error> {
        let (size, max) = ((key.len() + value + RECORD_HEADERS) as u64, self.cx.max_record);
        if size <= max {
            return Ok(());
        }
        let what = format!("the value of key {}", self.shown(key));
        Err(Error::TooLarge { table: self.spec.info.name.to_string(), what, size, max })
    }

    /// Returns whether a written value needs [`check_value`](Self::check_value).
    #[inline]
    pub(super) fn is_suspect(&self, value: &V) -> bool {
        self.checks_writes.load(Ordering::Relaxed) || self.spec.value.check(value).is_err()
    }

    /// Checks that a written value can be read back. While writes are checked, also that it can be sealed.
    pub(super) fn check_value(&self, key: &[u8], value: &V) -> Result<(), Error> {
        let checked = self.spec.value.check(value);
        checked.map_err(|why| self.refused(key, &why))?;
        if !self.checks_writes.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut bytes = Vec::new();
        self.spec.value.encode(value, &mut bytes).map_err(|why| self.refused(key, &why))?;
        self.check_size(key, bytes.len())
    }

    /// Returns a key for an error or a log line.
    pub(super) fn shown(&self, key: &[u8]) -> String {
        self.spec.info.shown_key(key)
    }

    pub(super) fn state_error(&self, why: String) -> Error {
        Error::State { table: self.spec.info.name.to_string(), partition: self.cx.partition, why }
    }

    #[inline]
    pub(super) fn state(&self) -> MutexGuard<'_, State<V>> {
        match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => self.contend(),
        }
    }

    #[cold]
    fn contend(&self) -> MutexGuard<'_, State<V>> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets another thread have the lock, between two steps of a long piece of work. The lock itself is not fair: a thread
    /// that takes it again at once usually comes before those that wait. This waits until the next of them has it, which
    /// is for the time of its wake-up.
    pub(super) fn give_way(&self) {
        drop(self.turn.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl<V: TableValue> AnyTablePartition for TablePartition<V> {
    fn info(&self) -> &TableInfo {
        &self.spec.info
    }

    fn max_record(&self) -> u64 {
        self.cx.max_record
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<V: TableValue> CommitState for TablePartition<V> {
    fn is_dirty(&self) -> bool {
        self.state().overlay.is_dirty()
    }

    fn dirty(&self) -> usize {
        self.state().overlay.dirty()
    }

    fn seal(&self) -> Result<Option<Arc<Sealed>>, Error> {
        let mut state = self.state();
        if !state.overlay.is_dirty() {
            return Ok(None);
        }
        let dirty = state.overlay.dirty();
        let mut sealed = SealedBuilder::with_capacity(dirty, dirty * state.entry_bytes);
        state.overlay.seal(|DirtyKey { key: entry_key, held, time, is_new }| {
            let key = |out: &mut Vec<u8>| {
                out.extend_from_slice(entry_key);
                Ok::<_, Error>(())
            };
            let mut written = 0;
            match held {
                Held::Absent => sealed.remove(is_new, time, key)?,
                Held::Bytes(bytes) => sealed.push(is_new, time, key, |out| {
                    written = bytes.len();
                    out.extend_from_slice(bytes);
                    Ok(())
                })?,
                Held::Value(value) => sealed.push(is_new, time, key, |out| {
                    let start = out.len();
                    self.spec.value.encode(value, out).map_err(|why| self.refused(entry_key, &why))?;
                    written = out.len() - start;
                    Ok(())
                })?,
                Held::Taken => return Err(self.misuse("is still being changed at the end of its event")),
            }
            self.check_size(entry_key, written)?;
            Ok(u32::try_from(written).unwrap_or(u32::MAX))
        })?;
        // Slightly more, because encoded counts and similar values grow.
        state.entry_bytes = sealed.size_bytes().div_ceil(sealed.len().max(1)) + 2;
        state.commit_due = state.commit_step();
        Ok(Some(Arc::new(sealed.finish())))
    }

    fn committed(&self, sealed: Arc<Sealed>, mark: Vec<u8>, writer: &StoreWriter) {
        let number = self.state().overlay.committed();
        self.hand_over(number, sealed, mark, writer);
    }

    fn check_writes(&self, checks: bool) {
        self.checks_writes.store(checks, Ordering::Relaxed);
    }

    fn reopen(&self) {
        self.state().overlay.reopen();
    }

    fn merge_last_seals(&self) {
        self.state().overlay.merge_last_seals();
    }

    fn roll_back_open(&self) {
        let mut state = self.state();
        state.overlay.roll_back_open();
        self.reindex(&mut state);
    }

    fn roll_back_sealed(&self) {
        let mut state = self.state();
        state.overlay.roll_back_sealed();
        self.reindex(&mut state);
    }

    fn trim(&self) {
        let mut state = self.state();
        if self.cx.store.is_some() && state.overlay.evict(TRIM_LOOKS) {
            state.is_not_whole();
        }
    }
}

impl<V: TableValue> Prefetchable for TablePartition<V> {
    fn prefetch(&self, keys: &KeyBatch) -> bool {
        let mut state = self.state();
        let State { overlay, prefetch, .. } = &mut *state;
        let wants = prefetch.is_worth_it(overlay.len());
        if wants {
            prefetch.learn(overlay.prefetch(keys), keys);
        }
        wants
    }
}

impl<V: TableValue> TablePartition<V> {
    /// Submits a batch to the store writer. Without a store, the batch counts as stored at once.
    pub(super) fn hand_over(&self, number: u64, batch: Arc<Sealed>, mark: Vec<u8>, writer: &StoreWriter) {
        let Some(store) = &self.cx.store else {
            self.state().overlay.stored(number);
            return;
        };
        let (this, stats) = (Weak::clone(&self.this), Arc::clone(&self.cx.stats));
        let entries = batch.len() as u64;
        let done = Box::new(move |written: Result<(), StoreError>| {
            match written {
                Ok(()) => {
                    stats.stored(entries);
                    if let Some(partition) = this.upgrade() {
                        partition.state().overlay.stored(number);
                    }
                }
                // The worker has shut down; entries that were not stored are in the changelog.
                Err(error) if error.kind() == StoreErrorKind::Gone => {}
                Err(error) => {
                    if let Some(partition) = this.upgrade() {
                        partition.unwritable(&error);
                    }
                }
            }
        });
        let name = StoreName { table: self.spec.info.name.to_string(), partition: self.cx.partition };
        writer.submit(Job { store: Arc::clone(store), name, batch, mark, done });
    }
}

impl<V: TableValue> TablePartition<V> {
    /// Reports a failed write, which stops the worker: no further changes could be stored, and memory would fill up.
    fn unwritable(&self, error: &StoreError) {
        self.stop_worker(format!(
            "its store cannot be written: {error}; restart the worker: the store is then set aside and the table restored from its changelog"
        ));
    }

    fn stop_worker(&self, why: String) {
        if let Some(failed) = &self.cx.failed {
            // The receiver is gone if the worker has already shut down.
            drop(failed.send(self.state_error(why)));
        }
    }
}

impl<V> std::fmt::Debug for TablePartition<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TablePartition({}[{}])", self.spec.info.name, self.cx.partition)
    }
}

#[cfg(test)]
mod tests;
