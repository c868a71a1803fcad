//! The overlay: the entries of a table that are in memory. It has all entries that are not in the store yet, and caches
//! as many others as the memory budget allows.
//!
//! Writes belong to an *epoch* ([`Epoch`]), which ends when it is sealed. Until the outcome of a sealed epoch's
//! commit is known, the epoch can be rolled back: it keeps the previous state of each key that it has written.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::budget::CacheBudget;
use super::held::Held;
use super::prefetch::KeyBatch;
use super::slab::Slab;
use super::undo::{Epoch, Undo};
use crate::time::Timestamp;

/// Keys and values of one table in one partition, by their encoded keys.
pub(crate) struct Overlay<V> {
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    slots: Slab<Slot<V>>,
    free: Vec<u32>,
    /// The current epoch.
    open: Epoch<V>,
    /// Sealed epochs that are not known to be committed, oldest first.
    sealed: VecDeque<Epoch<V>>,
    /// Committed epochs that are not in the store yet, with their entries, oldest first.
    unwritten: VecDeque<(u64, Vec<u32>)>,
    /// The last epoch that is in the store, like all epochs before it.
    written: u64,
    /// Number of entries with a value.
    live: i64,
    /// Position at which the search for entries to evict resumes.
    hand: usize,
    budget: Arc<CacheBudget>,
    used: u64,
    /// The part of `used` that has been added to the budget.
    charged: u64,
}

struct Slot<V> {
    hash: u64,
    key: Box<[u8]>,
    held: Held<V>,
    /// The greatest time of the events that made the value, or of the one that removed it.
    time: Timestamp,
    /// The last epoch that wrote the entry; 0 if it was read from the store.
    epoch: u64,
    /// Set if the entry must be written to the changelog even if it is unchanged, because the changelog has a record of
    /// the key that was not committed.
    repair: bool,
    /// Set on use, and cleared by the search for entries to evict.
    hot: bool,
    /// Size of the encoded value in bytes, as far as known.
    weight: u32,
}

/// A place in the lists of entries that are not in the store yet. They are in the order of their epochs, and only grow at
/// the end. The first place is the default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UnwrittenPlace {
    epoch: u64,
    index: usize,
}

/// A key of the epoch that is being sealed.
pub(crate) struct DirtyKey<'a, V> {
    pub(crate) key: &'a [u8],
    pub(crate) held: &'a Held<V>,
    /// The greatest time of the events that made the value, or of the one that removed it.
    pub(crate) time: Timestamp,
    /// Set if the key may have had no value at the last commit: it had none, or a commit whose outcome is unknown may have
    /// removed it.
    pub(crate) is_new: bool,
}

impl<V: Clone> Overlay<V> {
    pub(crate) fn new(budget: Arc<CacheBudget>) -> Self {
        Self {
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            slots: Slab::new(),
            free: Vec::new(),
            open: Epoch::new(1),
            sealed: VecDeque::new(),
            unwritten: VecDeque::new(),
            written: 0,
            live: 0,
            hand: 0,
            budget,
            used: 0,
            charged: 0,
        }
    }

    /// Returns the entry of a key, if the overlay has one.
    pub(crate) fn find(&mut self, key: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        let Self { index, slots, .. } = self;
        let same = |&at: &u32| slots.get(at).is_some_and(|slot| slot.hash == hash && *slot.key == *key);
        let at = index.find(hash, same).copied()?;
        self.slot_mut(at).hot = true;
        Some(at)
    }

    /// Looks up keys that are likely to be read soon, so that their entries are in the processor's cache by then.
    /// Returns the number of keys that have an entry.
    ///
    /// The iterations of each loop are independent, so that the processor overlaps the memory accesses of several keys.
    pub(crate) fn prefetch(&self, keys: &KeyBatch) -> usize {
        const TOGETHER: usize = 32;
        let (mut keys, mut left, mut here) = (keys.iter(), keys.len(), 0);
        while left > 0 {
            let mut found = [None; TOGETHER];
            // IMPORTANT: `found` comes first: with `keys` first, `zip` would take a key and drop it at the end of
            // `found`.
            for (found, key) in found.iter_mut().zip(keys.by_ref()) {
                let hash = self.hasher.hash_one(key);
                let same = |&at: &u32| self.slots.get(at).is_some_and(|slot| slot.hash == hash);
                *found = self.index.find(hash, same).map(|&at| (at, key));
            }
            let is_here = |&(at, key): &(u32, &[u8])| *self.slot(at).key == *key;
            here += found.iter().flatten().filter(|found| is_here(found)).count();
            left = left.saturating_sub(TOGETHER);
        }
        here
    }

    /// Returns the number of entries, including those of removed keys.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Returns the value of an entry.
    #[inline]
    pub(crate) fn held(&self, at: u32) -> &Held<V> {
        &self.slot(at).held
    }

    /// Returns the value of an entry for replacing its bytes with the decoded value. Changes must use
    /// [`write`](Self::write).
    pub(crate) fn held_mut(&mut self, at: u32) -> &mut Held<V> {
        &mut self.slot_mut(at).held
    }

    /// Returns the greatest time of the events that made the value of an entry.
    #[cfg(test)]
    fn time(&self, at: u32) -> Timestamp {
        self.slot(at).time
    }

    pub(crate) fn key(&self, at: u32) -> &[u8] {
        &self.slot(at).key
    }

    /// Adds an entry for a key that has none, with the time of its value. The value is `Absent` for a key that is about to be
    /// written.
    pub(crate) fn insert(&mut self, key: &[u8], held: Held<V>, time: Timestamp) -> u32 {
        let hash = self.hasher.hash_one(key);
        let weight = if let Held::Bytes(bytes) = &held { bytes.len() } else { 0 };
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        self.live += i64::from(held.is_there());
        let slot = Slot { hash, key: key.into(), held, time, epoch: 0, repair: false, hot: true, weight };
        self.charge(Self::cost(&slot));
        let at = match self.free.pop() {
            Some(at) => {
                *self.slot_mut(at) = slot;
                at
            }
            None => self.slots.push(slot),
        };
        let Self { index, slots, .. } = self;
        let hash_of = |&at: &u32| slots.get(at).map_or(0, |slot| slot.hash);
        index.insert_unique(hash, at, hash_of);
        at
    }

    /// Prepares an entry for a change by an event of this time.
    ///
    /// The entry's time becomes the greatest of the events that made its value. A value that replaces another may have been
    /// made from it, so only the removal of a key begins anew.
    #[inline]
    pub(crate) fn write(&mut self, at: u32, time: Timestamp) {
        self.keep(at);
        let slot = self.slot_mut(at);
        slot.time = if slot.held.is_there() { slot.time.max(time) } else { time };
    }

    /// Keeps the previous state of an entry that is to be in the next seal, once per epoch.
    #[inline]
    fn keep(&mut self, at: u32) {
        let number = self.open.number;
        let slot = self.slot_mut(at);
        if slot.epoch == number {
            return;
        }
        let undo = Undo { held: slot.held.clone(), time: slot.time, epoch: slot.epoch };
        slot.epoch = number;
        self.open.dirty.push(at);
        self.open.undo.push(undo);
    }

    /// Replaces the value of an entry, after [`write`](Self::write), and returns the previous value.
    #[inline]
    pub(crate) fn put(&mut self, at: u32, held: Held<V>) -> Held<V> {
        let slot = self.slot_mut(at);
        let before = std::mem::replace(&mut slot.held, held);
        let grown = i64::from(slot.held.is_there()) - i64::from(before.is_there());
        self.live += grown;
        before
    }

    /// Restores the value that an entry of the current epoch had when it was first written, because a change of it was
    /// refused.
    pub(crate) fn revert(&mut self, at: u32) {
        let Some(place) = self.open.dirty.iter().rposition(|&dirty| dirty == at) else { return };
        let before = self.open.undo.get(place).map(|undo| (undo.held.clone(), undo.time));
        if let Some((held, time)) = before {
            self.put(at, held);
            self.slot_mut(at).time = time;
        }
    }

    /// Returns whether any key was written since the last seal.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.open.dirty.is_empty()
    }

    /// Returns the number of keys written since the last seal.
    pub(crate) fn dirty(&self) -> usize {
        self.open.dirty.len()
    }

    /// Returns the number of entries with a value.
    pub(crate) fn live(&self) -> i64 {
        self.live
    }

    /// Returns the number of places for entries. [`entry`](Self::entry) has all of them below this number.
    pub(crate) fn places(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// Returns the key and the value of the entry in a place, if there is one.
    pub(crate) fn entry(&self, at: u32) -> Option<(&[u8], &Held<V>)> {
        let slot = self.slots.get(at).filter(|slot| !slot.key.is_empty() || slot.hash != VACANT)?;
        Some((&slot.key, &slot.held))
    }

    /// Returns all entries, in no particular order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u32, &[u8], &Held<V>)> {
        (0..self.places()).filter_map(|at| self.entry(at).map(|(key, held)| (at, key, held)))
    }

    /// Returns the next places of entries whose current value is not in the store, and moves `from` past them. Each entry
    /// looked at takes one of the visits, of which there must be some. Returns `None` after the last entry: all other keys
    /// can be read from the store.
    pub(crate) fn unwritten(&self, from: &mut UnwrittenPlace, visits: &mut usize) -> Option<Vec<u32>> {
        let waiting = self.unwritten.iter().map(|(number, slots)| (*number, slots));
        let epochs = self.sealed.iter().chain([&self.open]).map(|epoch| (epoch.number, &epoch.dirty));
        let (mut found, most, first) = (Vec::new(), *visits, *from);
        for (number, slots) in waiting.chain(epochs).filter(|(number, _)| *number >= first.epoch) {
            if *visits == 0 {
                break;
            }
            // An epoch that has left the lists since is in the store, or was merged into a later one.
            let start = if number == first.epoch { first.index.min(slots.len()) } else { 0 };
            let looked_at = &slots[start..slots.len().min(start + *visits)];
            found.extend(looked_at.iter().filter(|at| self.slot(**at).epoch > self.written));
            *visits -= looked_at.len();
            *from = UnwrittenPlace { epoch: number, index: start + looked_at.len() };
        }
        (*visits < most).then_some(found)
    }

    /// Seals the current epoch, and passes each of its keys that must be written to the changelog to `each`, which
    /// returns the size of the encoded value.
    ///
    /// # Errors
    /// Returns the error of `each`, and seals nothing.
    pub(crate) fn seal<E>(&mut self, mut each: impl FnMut(DirtyKey<'_, V>) -> Result<u32, E>) -> Result<(), E> {
        for index in 0..self.open.dirty.len() {
            let (Some(&at), Some(undo)) = (self.open.dirty.get(index), self.open.undo.get(index)) else { break };
            let is_new = !undo.held.is_there();
            let slot = self.slot(at);
            // A key that was added and removed since the last commit needs no record.
            if is_new && !slot.held.is_there() && !slot.repair {
                continue;
            }
            let is_new = is_new || slot.repair;
            let weight = each(DirtyKey { key: &slot.key, held: &slot.held, time: slot.time, is_new })?;
            let before = self.slot_mut(at);
            let change = i64::from(weight) - i64::from(before.weight);
            before.weight = weight;
            self.charge(change);
        }
        let next = Epoch::after(&self.open);
        self.sealed.push_back(std::mem::replace(&mut self.open, next));
        Ok(())
    }

    /// Marks the oldest sealed epoch as committed: it can no longer be rolled back. Returns its number, for
    /// [`stored`](Self::stored).
    pub(crate) fn committed(&mut self) -> u64 {
        let Some(epoch) = self.sealed.pop_front() else { return self.written };
        for &at in &epoch.dirty {
            self.slot_mut(at).repair = false;
        }
        self.unwritten.push_back((epoch.number, epoch.dirty));
        epoch.number
    }

    /// Marks all epochs up to this one as stored. A table without a store marks epochs when they are committed.
    pub(crate) fn stored(&mut self, number: u64) {
        self.written = self.written.max(number);
        while self.unwritten.front().is_some_and(|(oldest, _)| *oldest <= number) {
            let Some((_, slots)) = self.unwritten.pop_front() else { return };
            for at in slots {
                let slot = self.slot(at);
                // The entry of a removed key is not needed any more once the key is removed from the store.
                if !slot.held.is_there() && slot.epoch <= number && slot.hash != VACANT {
                    self.release(at);
                }
            }
        }
    }

    /// Opens the last sealed epoch again, right after it was sealed.
    pub(crate) fn reopen(&mut self) {
        debug_assert!(self.open.dirty.is_empty(), "an epoch is reopened before anything is written");
        if let Some(last) = self.sealed.pop_back() {
            self.open = last;
        }
    }

    /// Merges the last two sealed epochs: they are committed or rolled back together.
    pub(crate) fn merge_last_seals(&mut self) {
        let Some(last) = self.sealed.pop_back() else { return };
        let Some(merged) = self.sealed.back_mut() else {
            self.sealed.push_back(last);
            return;
        };
        merged.number = last.number;
        let known: std::collections::HashSet<u32> = merged.dirty.iter().copied().collect();
        for (at, undo) in last.dirty.into_iter().zip(last.undo) {
            if !known.contains(&at) {
                merged.dirty.push(at);
                merged.undo.push(undo);
            }
        }
    }

    /// Rolls back the writes since the last seal.
    pub(crate) fn roll_back_open(&mut self) {
        let repairs = self.undo_open();
        // The changelog still has uncommitted records of these keys.
        repairs.into_iter().for_each(|at| self.repair(at));
    }

    /// Rolls back the current epoch and the sealed epochs, which will not be committed. The changelog may have records
    /// of the sealed epochs: the next seal overwrites them with the restored values.
    pub(crate) fn roll_back_sealed(&mut self) {
        let mut repairs = self.undo_open();
        while let Some(epoch) = self.sealed.pop_back() {
            repairs.extend(epoch.dirty.iter().copied());
            self.undo(epoch);
        }
        repairs.into_iter().for_each(|at| self.repair(at));
    }

    /// Rolls back the current epoch and starts another. Returns the entries that still have to be repaired.
    fn undo_open(&mut self) -> std::collections::BTreeSet<u32> {
        let next = Epoch::new(self.open.number + 1);
        let open = std::mem::replace(&mut self.open, next);
        let repairs = open.dirty.iter().copied().filter(|at| self.slot(*at).repair).collect();
        self.undo(open);
        repairs
    }

    /// Marks an entry for repair: the changelog has a record of its key that was not committed, and the next seal
    /// overwrites it with the current value.
    pub(crate) fn repair(&mut self, at: u32) {
        self.keep(at);
        self.slot_mut(at).repair = true;
    }

    fn undo(&mut self, epoch: Epoch<V>) {
        for (at, undo) in epoch.dirty.into_iter().zip(epoch.undo) {
            self.put(at, undo.held);
            let slot = self.slot_mut(at);
            (slot.time, slot.epoch) = (undo.time, undo.epoch);
        }
    }

    /// Applies a record read by a restore, which cannot be rolled back. `None` removes the key. Returns the entry, and
    /// whether it is new.
    pub(crate) fn apply(&mut self, key: &[u8], value: Option<&[u8]>, time: Timestamp) -> (u32, bool) {
        let found = self.find(key);
        let at = found.unwrap_or_else(|| self.insert(key, Held::Absent, time));
        let weight = u32::try_from(value.map_or(0, <[u8]>::len)).unwrap_or(u32::MAX);
        let before = self.slot(at).weight;
        self.charge(i64::from(weight) - i64::from(before));
        self.put(at, value.map_or(Held::Absent, |bytes| Held::Bytes(bytes.into())));
        let number = self.open.number;
        let slot = self.slot_mut(at);
        (slot.weight, slot.epoch, slot.time) = (weight, number, time);
        (at, found.is_none())
    }

    /// Ends a batch of records applied by [`apply`](Self::apply), whose entries are `slots`. Returns the number of the
    /// batch's epoch, for [`stored`](Self::stored).
    pub(crate) fn applied(&mut self, slots: Vec<u32>) -> u64 {
        let number = self.open.number;
        self.unwritten.push_back((number, slots));
        self.open.number += 1;
        number
    }

    /// Examines up to `looks` entries and evicts clean ones while the tables exceed their memory budget. Returns
    /// whether any entry was evicted.
    pub(crate) fn evict(&mut self, looks: usize) -> bool {
        let mut evicted = false;
        for _ in 0..looks {
            if !self.budget.is_over() || self.slots.len() == 0 {
                break;
            }
            let at = self.hand % self.slots.len();
            self.hand = at + 1;
            let Ok(at) = u32::try_from(at) else { break };
            let written = self.written;
            let slot = self.slot_mut(at);
            let stays = slot.hash == VACANT || slot.epoch > written || matches!(slot.held, Held::Taken);
            if !stays && !std::mem::replace(&mut slot.hot, false) {
                self.release(at);
                evicted = true;
            }
        }
        evicted
    }

    fn release(&mut self, at: u32) {
        let slot = self.slot(at);
        let (hash, cost, lives) = (slot.hash, Self::cost(slot), slot.held.is_there());
        if let Ok(entry) = self.index.find_entry(hash, |&found| found == at) {
            entry.remove();
        }
        self.live -= i64::from(lives);
        self.charge(-cost);
        let slot = self.slot_mut(at);
        *slot = Slot {
            hash: VACANT,
            key: Box::default(),
            held: Held::Absent,
            time: Timestamp(0),
            epoch: 0,
            repair: false,
            hot: false,
            weight: 0,
        };
        self.free.push(at);
    }

    fn cost(slot: &Slot<V>) -> i64 {
        let bytes = size_of::<Slot<V>>() + 8 + slot.key.len() + slot.weight as usize;
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }

    fn charge(&mut self, bytes: i64) {
        self.used = self.used.saturating_add_signed(bytes);
        if self.used.abs_diff(self.charged) >= self.budget.grain {
            // Adding the wrapped difference subtracts from the counter if `used` has decreased.
            self.budget.used.fetch_add(self.used.wrapping_sub(self.charged), Ordering::Relaxed);
            self.charged = self.used;
        }
    }

    fn slot(&self, at: u32) -> &Slot<V> {
        self.slots.get(at).expect("slots are never removed")
    }

    fn slot_mut(&mut self, at: u32) -> &mut Slot<V> {
        self.slots.get_mut(at).expect("slots are never removed")
    }
}

/// Hash of vacant slots, which also have an empty key.
const VACANT: u64 = u64::MAX;

impl<V> Drop for Overlay<V> {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.charged, Ordering::Relaxed);
    }
}

impl<V> std::fmt::Debug for Overlay<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overlay").field("slots", &self.slots.len()).field("live", &self.live).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
