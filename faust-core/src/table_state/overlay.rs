//! What a table holds in memory: whatever its store does not have yet, and as much of the rest as there is room for.
//!
//! Writes belong to a *generation*, which a cut seals. Until the commit of a sealed generation is known, each of its
//! keys can be taken back to what it was: every generation keeps, for each key it wrote first, what was there before.

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

/// Keys and values of one table in one partition, by their encoded keys.
pub(crate) struct Overlay<V> {
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    slots: Slab<Slot<V>>,
    free: Vec<u32>,
    /// What is being written.
    open: Epoch<V>,
    /// What was sealed and not heard of since; the oldest first.
    sealed: VecDeque<Epoch<V>>,
    /// What was committed and is not in the store yet; the oldest first.
    unwritten: VecDeque<(u64, Vec<u32>)>,
    /// Everything up to this generation is in the store.
    written: u64,
    /// How many keys have a value. Counts only what is here.
    live: i64,
    /// Where the search for something to evict goes on.
    hand: usize,
    budget: Arc<CacheBudget>,
    used: u64,
    /// The part of `used` that the budget knows of.
    told: u64,
}

struct Slot<V> {
    hash: u64,
    key: Box<[u8]>,
    held: Held<V>,
    /// The last generation that wrote it; 0 for what came from the store.
    generation: u64,
    /// It has to be written to the changelog whatever it is: something there is to be undone.
    repair: bool,
    /// Used since the search for something to evict last came by.
    hot: bool,
    /// Bytes of the encoded value, as far as known.
    weight: u32,
}

/// A key of a generation that is being sealed.
pub(crate) struct DirtyKey<'a, V> {
    pub(crate) key: &'a [u8],
    pub(crate) held: &'a Held<V>,
    /// The key had no value at the last commit.
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
            told: 0,
        }
    }

    /// The entry of a key, if the overlay knows anything of it.
    pub(crate) fn find(&mut self, key: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        let Self { index, slots, .. } = self;
        let same = |&at: &u32| slots.get(at).is_some_and(|slot| slot.hash == hash && *slot.key == *key);
        let at = index.find(hash, same).copied()?;
        self.slot_mut(at).hot = true;
        Some(at)
    }

    /// Looks up keys that are likely to be asked for soon, so that their entries are near by then. Returns how many are
    /// here.
    ///
    /// Nothing in a loop depends on the round before: the processor waits for the memory of several at a time.
    pub(crate) fn prefetch(&self, keys: &KeyBatch) -> usize {
        const TOGETHER: usize = 32;
        let (mut keys, mut left, mut here) = (keys.iter(), keys.len(), 0);
        while left > 0 {
            let mut found = [None; TOGETHER];
            // In this order: a key that is taken and has no place would be lost.
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

    /// Entries that are here, those of removed keys among them.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// What an entry holds.
    pub(crate) fn held(&self, at: u32) -> &Held<V> {
        &self.slot(at).held
    }

    /// To put a decoded value in the place of its bytes; changes go by [`write`](Self::write).
    pub(crate) fn held_mut(&mut self, at: u32) -> &mut Held<V> {
        &mut self.slot_mut(at).held
    }

    pub(crate) fn key(&self, at: u32) -> &[u8] {
        &self.slot(at).key
    }

    /// Adds an entry for a key that has none. `Absent` is for one that is about to be written.
    pub(crate) fn insert(&mut self, key: &[u8], held: Held<V>) -> u32 {
        let hash = self.hasher.hash_one(key);
        let weight = if let Held::Bytes(bytes) = &held { bytes.len() } else { 0 };
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        self.live += i64::from(held.is_there());
        let slot = Slot { hash, key: key.into(), held, generation: 0, repair: false, hot: true, weight };
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

    /// Before an entry is changed: notes what it was, once in a generation.
    pub(crate) fn write(&mut self, at: u32) {
        let number = self.open.number;
        let slot = self.slot_mut(at);
        if slot.generation == number {
            return;
        }
        let undo = Undo { held: slot.held.clone(), generation: slot.generation };
        slot.generation = number;
        self.open.dirty.push(at);
        self.open.undo.push(undo);
    }

    /// Puts a value in place, after [`write`](Self::write); what was there comes back.
    pub(crate) fn put(&mut self, at: u32, held: Held<V>) -> Held<V> {
        let slot = self.slot_mut(at);
        let before = std::mem::replace(&mut slot.held, held);
        let grown = i64::from(slot.held.is_there()) - i64::from(before.is_there());
        self.live += grown;
        before
    }

    /// Whether there is something to write to the changelog.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.open.dirty.is_empty()
    }

    /// Keys written since the last cut.
    pub(crate) fn dirty(&self) -> usize {
        self.open.dirty.len()
    }

    /// How many keys have a value, of those that are here.
    pub(crate) fn live(&self) -> i64 {
        self.live
    }

    /// Everything that is here, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u32, &[u8], &Held<V>)> {
        let filled = (0u32..).zip(self.slots.iter()).filter(|(_, slot)| !slot.key.is_empty() || slot.hash != VACANT);
        filled.map(|(at, slot)| (at, &*slot.key, &slot.held))
    }

    /// Every entry that the store does not have in this form: the only ones it cannot be asked for.
    pub(crate) fn unwritten(&self) -> impl Iterator<Item = (u32, &[u8], &Held<V>)> {
        let waiting = self.unwritten.iter().flat_map(|(_, slots)| slots);
        let sealed = self.sealed.iter().flat_map(|generation| &generation.dirty);
        let all = waiting.chain(sealed).chain(&self.open.dirty);
        let newer = all.filter(|at| self.slot(**at).generation > self.written);
        newer.map(|&at| (at, self.key(at), self.held(at)))
    }

    /// Ends the open generation and shows each of its keys that the changelog has to hear of.
    ///
    /// # Errors
    /// What `each` says; then nothing was sealed.
    pub(crate) fn seal<E>(&mut self, mut each: impl FnMut(DirtyKey<'_, V>) -> Result<u32, E>) -> Result<(), E> {
        for index in 0..self.open.dirty.len() {
            let (Some(&at), Some(undo)) = (self.open.dirty.get(index), self.open.undo.get(index)) else { break };
            let is_new = !undo.held.is_there();
            let slot = self.slot(at);
            // One that came and went between two commits has left no trace.
            if is_new && !slot.held.is_there() && !slot.repair {
                continue;
            }
            let weight = each(DirtyKey { key: &slot.key, held: &slot.held, is_new })?;
            let before = self.slot_mut(at);
            let change = i64::from(weight) - i64::from(before.weight);
            before.weight = weight;
            self.charge(change);
        }
        let next = Epoch::after(&self.open);
        self.sealed.push_back(std::mem::replace(&mut self.open, next));
        Ok(())
    }

    /// The oldest sealed generation is committed: nothing of it will be taken back. Returns its number, for
    /// [`stored`](Self::stored).
    pub(crate) fn committed(&mut self) -> u64 {
        let Some(generation) = self.sealed.pop_front() else { return self.written };
        for &at in &generation.dirty {
            self.slot_mut(at).repair = false;
        }
        self.unwritten.push_back((generation.number, generation.dirty));
        generation.number
    }

    /// Everything up to this generation is in the store, or there is no store to wait for.
    pub(crate) fn stored(&mut self, number: u64) {
        self.written = self.written.max(number);
        while self.unwritten.front().is_some_and(|(oldest, _)| *oldest <= number) {
            let Some((_, slots)) = self.unwritten.pop_front() else { return };
            for at in slots {
                let slot = self.slot(at);
                // A removal needs no entry any more once the store knows of it.
                if !slot.held.is_there() && slot.generation <= number && slot.hash != VACANT {
                    self.release(at);
                }
            }
        }
    }

    /// The commit of the sealed generations is not certain: the next cut covers their keys as well, whatever becomes of
    /// them, since the changelog may hold them already.
    pub(crate) fn unseal(&mut self) {
        let Some(mut merged) = self.sealed.pop_front() else { return };
        let later = std::mem::take(&mut self.sealed);
        let open = std::mem::replace(&mut self.open, Epoch::new(0));
        let number = open.number;
        let told: Vec<u32> = later.iter().chain([&merged]).flat_map(|generation| &generation.dirty).copied().collect();
        let mut known: std::collections::HashSet<u32> = merged.dirty.iter().copied().collect();
        for generation in later.into_iter().chain([open]) {
            for (at, undo) in generation.dirty.into_iter().zip(generation.undo) {
                if known.insert(at) {
                    merged.dirty.push(at);
                    merged.undo.push(undo);
                }
            }
        }
        merged.number = number;
        for &at in &merged.dirty {
            self.slot_mut(at).generation = number;
        }
        for at in told {
            self.slot_mut(at).repair = true;
        }
        self.open = merged;
    }

    /// Takes back what was written since the last cut.
    pub(crate) fn roll_back_open(&mut self) {
        let repairs = self.undo_open();
        // What is to be set right in the changelog is so still.
        repairs.into_iter().for_each(|at| self.repair(at));
    }

    /// Takes back what was sealed and will not be committed. Some of it may lie in the changelog already: the next cut
    /// writes what holds over it.
    pub(crate) fn roll_back_sealed(&mut self) {
        let mut repairs = self.undo_open();
        while let Some(generation) = self.sealed.pop_back() {
            repairs.extend(generation.dirty.iter().copied());
            self.undo(generation);
        }
        repairs.into_iter().for_each(|at| self.repair(at));
    }

    /// Undoes the open generation and begins another. Returns the entries that are to be repaired still.
    fn undo_open(&mut self) -> std::collections::BTreeSet<u32> {
        let next = Epoch::new(self.open.number + 1);
        let open = std::mem::replace(&mut self.open, next);
        let repairs = open.dirty.iter().copied().filter(|at| self.slot(*at).repair).collect();
        self.undo(open);
        repairs
    }

    /// The changelog holds something of this key that never came to be: the next cut writes what does hold.
    pub(crate) fn repair(&mut self, at: u32) {
        self.write(at);
        self.slot_mut(at).repair = true;
    }

    fn undo(&mut self, generation: Epoch<V>) {
        for (at, undo) in generation.dirty.into_iter().zip(generation.undo) {
            self.put(at, undo.held);
            self.slot_mut(at).generation = undo.generation;
        }
    }

    /// What a restore reads: it is what holds, and not to be taken back. `None` removes. Says whether the entry is new.
    pub(crate) fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> (u32, bool) {
        let found = self.find(key);
        let at = found.unwrap_or_else(|| self.insert(key, Held::Absent));
        let weight = u32::try_from(value.map_or(0, <[u8]>::len)).unwrap_or(u32::MAX);
        let before = self.slot(at).weight;
        self.charge(i64::from(weight) - i64::from(before));
        self.put(at, value.map_or(Held::Absent, |bytes| Held::Bytes(bytes.into())));
        let number = self.open.number;
        let slot = self.slot_mut(at);
        (slot.weight, slot.generation) = (weight, number);
        (at, found.is_none())
    }

    /// Ends a batch of [`apply`](Self::apply)s, whose entries these are; returns its number for [`stored`](Self::stored).
    pub(crate) fn applied(&mut self, slots: Vec<u32>) -> u64 {
        let number = self.open.number;
        self.unwritten.push_back((number, slots));
        self.open.number += 1;
        number
    }

    /// Looks at so many entries for clean ones to drop while all tables together hold more than they may; true if any
    /// went.
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
            let stays = slot.hash == VACANT || slot.generation > written || matches!(slot.held, Held::Taken);
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
            generation: 0,
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
        if self.used.abs_diff(self.told) >= self.budget.grain {
            // Wraps where it became less, as the counter does.
            self.budget.used.fetch_add(self.used.wrapping_sub(self.told), Ordering::Relaxed);
            self.told = self.used;
        }
    }

    fn slot(&self, at: u32) -> &Slot<V> {
        self.slots.get(at).expect("slots are never taken away")
    }

    fn slot_mut(&mut self, at: u32) -> &mut Slot<V> {
        self.slots.get_mut(at).expect("slots are never taken away")
    }
}

/// Marks a slot that nothing is in, together with an empty key.
const VACANT: u64 = u64::MAX;

impl<V> Drop for Overlay<V> {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.told, Ordering::Relaxed);
    }
}

impl<V> std::fmt::Debug for Overlay<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overlay").field("slots", &self.slots.len()).field("live", &self.live).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
