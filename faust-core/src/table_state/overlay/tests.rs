//! Random histories of an overlay, compared with maps of the open, sealed, committed, stored and logged entries.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;

use crate::table_state::budget::CacheBudget;
use crate::table_state::held::Held;
use crate::table_state::overlay::{DirtyKey, Overlay, UnwrittenPlace};
use crate::table_state::prefetch::KeyBatch;
use crate::time::Timestamp;

/// An operation on an overlay.
#[derive(Clone, Debug)]
enum Step {
    Read(u8),
    Write(u8, Option<u16>, i64),
    Seal,
    Committed,
    Unconfirmed,
    Reopen,
    RollBackOpen,
    RollBackSealed,
    Stored,
    Evict(u8),
    Page(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0u8..5;
    prop_oneof![
        2 => key().prop_map(Step::Read),
        8 => (key(), prop::option::weighted(0.7, any::<u16>()), -3..9i64)
            .prop_map(|(key, value, time)| Step::Write(key, value, time)),
        4 => Just(Step::Seal),
        2 => Just(Step::Committed),
        1 => Just(Step::Unconfirmed),
        1 => Just(Step::Reopen),
        1 => Just(Step::RollBackOpen),
        1 => Just(Step::RollBackSealed),
        2 => Just(Step::Stored),
        2 => (1u8..20).prop_map(Step::Evict),
        4 => (1usize..4).prop_map(Step::Page),
    ]
}

/// A restore: batches of committed entries, then keys of which the changelog has records that were not committed.
type Restore = (Vec<BTreeMap<u8, Option<Timed>>>, Vec<(u8, Option<Timed>)>);

/// A value and its time.
type Timed = (u16, i64);

fn restore() -> impl Strategy<Value = Restore> {
    let value = || prop::option::weighted(0.7, (any::<u16>(), -3..9i64));
    let batch = prop::collection::btree_map(0u8..5, value(), 0..4);
    (prop::collection::vec(batch, 0..3), prop::collection::vec((0u8..5, value()), 0..3))
}

type Values = BTreeMap<u8, Timed>;
type Changes = Vec<(u8, Option<Timed>)>;
/// The changed keys, each with its value and whether it is new.
type SealedChanges = BTreeMap<u8, (Option<Timed>, bool)>;

/// An overlay, used as a partition uses it, and what it should be.
struct World {
    overlay: Overlay<u16>,
    budget: Arc<CacheBudget>,
    open: Values,
    /// The values at each seal that is not committed, and its changes.
    sealed: VecDeque<(Values, SealedChanges)>,
    committed: Values,
    /// The values that may be committed instead: those of commits whose outcome is unknown.
    maybe: Vec<Values>,
    /// Changes submitted to the store and not written yet.
    jobs: VecDeque<(u64, Changes)>,
    store: Values,
    /// The last record of each key, whether its seal was committed or not.
    changelog: BTreeMap<u8, Option<Timed>>,
    paging: Option<Paging>,
}

/// A look at the unwritten entries in steps, between which others change the overlay.
struct Paging {
    next: UnwrittenPlace,
    /// The keys that were unwritten at the start.
    unwritten: BTreeSet<u8>,
    seen: BTreeSet<u8>,
}

/// Returns the keys of the next unwritten entries.
fn page(overlay: &Overlay<u16>, next: &mut UnwrittenPlace, most: usize) -> Option<Vec<u8>> {
    let mut visits = most;
    let page = overlay.unwritten(next, &mut visits)?;
    assert!(visits < most && page.len() <= most - visits);
    Some(page.into_iter().map(|at| overlay.key(at)[0]).collect())
}

fn unwritten(overlay: &Overlay<u16>) -> BTreeSet<u8> {
    let mut next = UnwrittenPlace::default();
    std::iter::from_fn(|| page(overlay, &mut next, 100)).flatten().collect()
}

fn bytes(value: u16) -> Box<[u8]> {
    value.to_string().into_bytes().into()
}

fn value(held: &Held<u16>) -> Option<u16> {
    match held {
        Held::Absent => None,
        Held::Bytes(bytes) => Some(std::str::from_utf8(bytes).unwrap().parse().unwrap()),
        Held::Value(value) => Some(*value),
        Held::Taken => panic!("a value was taken and not put back"),
    }
}

fn timed(overlay: &Overlay<u16>, at: u32) -> Option<Timed> {
    value(overlay.held(at)).map(|value| (value, overlay.time(at).0))
}

fn put(values: &mut Values, key: u8, value: Option<Timed>) {
    match value {
        Some(value) => values.insert(key, value),
        None => values.remove(&key),
    };
}

impl World {
    fn new(limit: u64, (batches, uncommitted): &Restore) -> Self {
        let budget = CacheBudget::new(limit);
        let mut world = Self {
            overlay: Overlay::new(Arc::clone(&budget)),
            budget,
            open: Values::new(),
            sealed: VecDeque::new(),
            committed: Values::new(),
            maybe: Vec::new(),
            jobs: VecDeque::new(),
            store: Values::new(),
            changelog: BTreeMap::new(),
            paging: None,
        };
        for batch in batches {
            let mut slots = Vec::new();
            for (key, value) in batch {
                let (number, time) = value.map_or((None, 0), |(value, time)| (Some(value), time));
                slots.push(world.overlay.apply(&[*key], number.map(bytes).as_deref(), Timestamp(time)).0);
                put(&mut world.committed, *key, *value);
                world.changelog.insert(*key, *value);
            }
            world.overlay.evict(2 * slots.len());
            let number = world.overlay.applied(slots);
            world.jobs.push_back((number, batch.iter().map(|(key, value)| (*key, *value)).collect()));
        }
        world.open = world.committed.clone();
        for (key, value) in uncommitted {
            world.changelog.insert(*key, *value);
            let at = world.load_or_insert(*key);
            world.overlay.repair(at);
        }
        world
    }

    fn load(&mut self, key: u8) -> Option<u32> {
        if let Some(at) = self.overlay.find(&[key]) {
            return Some(at);
        }
        let (stored, time) = self.store.get(&key).copied()?;
        self.overlay.evict(16);
        Some(self.overlay.insert(&[key], Held::Bytes(bytes(stored)), Timestamp(time)))
    }

    fn load_or_insert(&mut self, key: u8) -> u32 {
        self.load(key).unwrap_or_else(|| {
            self.overlay.evict(16);
            self.overlay.insert(&[key], Held::Absent, Timestamp(0))
        })
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Read(key) => {
                let found = self.load(*key).and_then(|at| timed(&self.overlay, at));
                assert_eq!(found, self.open.get(key).copied());
            }
            Step::Write(key, new, time) => {
                let at = self.load_or_insert(*key);
                let earlier = self.open.get(key).copied();
                self.overlay.write(at, Timestamp(*time));
                let before = self.overlay.put(at, new.map_or(Held::Absent, Held::Value));
                assert_eq!(value(&before), earlier.map(|(value, _)| value));
                // The value may have been made from the earlier one.
                let time = earlier.map_or(*time, |(_, earlier)| earlier.max(*time));
                put(&mut self.open, *key, new.map(|new| (new, time)));
            }
            // A group has at most one seal in a commit, and one that waits for the next commit.
            Step::Seal if self.sealed.len() < 2 => self.seal(),
            Step::Committed => self.commit(),
            Step::Unconfirmed => self.unconfirmed(),
            Step::Reopen if self.sealed.len() < 2 => {
                self.seal();
                self.overlay.reopen();
                self.sealed.pop_back();
            }
            Step::RollBackOpen => {
                self.paging = None;
                self.overlay.roll_back_open();
                self.open = self.sealed.back().map_or(&self.committed, |(values, _)| values).clone();
            }
            Step::RollBackSealed => {
                self.paging = None;
                self.overlay.roll_back_sealed();
                self.sealed.clear();
                self.open = self.committed.clone();
            }
            Step::Stored => {
                if let Some((number, entries)) = self.jobs.pop_front() {
                    entries.into_iter().for_each(|(key, value)| put(&mut self.store, key, value));
                    self.overlay.stored(number);
                }
            }
            Step::Evict(looks) => {
                self.overlay.evict(usize::from(*looks));
            }
            Step::Page(most) => self.page(*most),
            Step::Seal | Step::Reopen => {}
        }
    }

    fn page(&mut self, most: usize) {
        let begin =
            || Paging { next: UnwrittenPlace::default(), unwritten: unwritten(&self.overlay), seen: BTreeSet::new() };
        let mut paging = self.paging.take().unwrap_or_else(begin);
        if let Some(keys) = page(&self.overlay, &mut paging.next, most) {
            paging.seen.extend(keys);
            self.paging = Some(paging);
            return;
        }
        let now = unwritten(&self.overlay);
        let missed: Vec<_> = paging.unwritten.intersection(&now).filter(|key| !paging.seen.contains(key)).collect();
        assert!(missed.is_empty(), "keys {missed:?} are neither stored nor seen");
    }

    fn seal(&mut self) {
        let mut entries = BTreeMap::new();
        let before = self.sealed.back().map_or(&self.committed, |(values, _)| values);
        let sealed = self.overlay.seal(|DirtyKey { key, held, time, is_new }| {
            assert!(is_new || before.contains_key(&key[0]), "key {} had a value", key[0]);
            assert_eq!(
                entries.insert(key[0], (value(held).map(|value| (value, time.0)), is_new)),
                None,
                "key {} is sealed twice",
                key[0]
            );
            Ok::<_, std::convert::Infallible>(4)
        });
        sealed.unwrap();
        self.sealed.push_back((self.open.clone(), entries));
    }

    /// Sends the oldest seal to the changelog.
    fn send(&mut self) {
        let Some((_, entries)) = self.sealed.front() else { return };
        for (key, (value, is_new)) in entries {
            let is_certain = self.maybe.iter().chain([&self.committed]).all(|values| values.contains_key(key));
            assert!(*is_new || is_certain, "key {key} had a value at the last commit");
            self.changelog.insert(*key, *value);
        }
    }

    /// Sends the oldest seal, without a commit: the next one covers all seals.
    fn unconfirmed(&mut self) {
        self.send();
        if let Some((values, entries)) = self.sealed.front_mut() {
            self.maybe.push(values.clone());
            entries.values_mut().for_each(|(_, is_new)| *is_new = true);
        }
        if self.sealed.len() == 2 {
            self.overlay.merge_last_seals();
        }
        let merged = std::mem::take(&mut self.sealed).into_iter().reduce(|(_, mut merged), (values, later)| {
            for (key, (value, is_new)) in later {
                let is_new = merged.get(&key).map_or(is_new, |(_, is_new)| *is_new);
                merged.insert(key, (value, is_new));
            }
            (values, merged)
        });
        self.sealed.extend(merged);
    }

    fn commit(&mut self) {
        self.send();
        let Some((values, entries)) = self.sealed.pop_front() else { return };
        self.committed = values;
        self.maybe.clear();
        let number = self.overlay.committed();
        self.jobs.push_back((number, entries.into_iter().map(|(key, (value, _))| (key, value)).collect()));
        // A restore relies on every record up to the last committed seal, so all of them must match the table.
        for (key, logged) in &self.changelog {
            assert_eq!(*logged, self.committed.get(key).copied(), "the changelog's record of key {key}");
        }
        assert!(self.committed.keys().all(|key| self.changelog.contains_key(key)));
    }

    fn check(&mut self) {
        let mut here = BTreeMap::new();
        let mut live = 0;
        for (at, key, held) in self.overlay.entries() {
            assert!(here.insert(key[0], timed(&self.overlay, at)).is_none(), "key {} is here twice", key[0]);
            live += i64::from(held.is_there());
        }
        assert_eq!(self.overlay.live(), live);
        let mut keys = KeyBatch::default();
        (0..5).for_each(|key| keys.push(&[key]));
        assert_eq!((self.overlay.prefetch(&keys), self.overlay.len()), (here.len(), here.len()));
        let unwritten = unwritten(&self.overlay);
        for key in 0..5 {
            let stored = self.store.get(&key).copied();
            let found = here.get(&key).copied().unwrap_or(stored);
            assert_eq!(found, self.open.get(&key).copied(), "key {key}");
            assert!(unwritten.contains(&key) || found == stored, "key {key} is neither stored nor unwritten");
        }
    }
}

/// Returns the number of random cases, which `FAUST_TEST_CASES` overrides.
fn cases() -> u32 {
    std::env::var("FAUST_TEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(256)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Law: after any sequence of seals, commits, rollbacks, store writes and evictions, reads return the current
    /// values, and after each commit the changelog matches the table.
    #[test]
    fn an_overlay_matches_its_model(
        limit in prop_oneof![Just(0u64), Just(300), Just(u64::MAX)],
        restore in restore(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(limit, &restore);
        world.check();
        for step in &steps {
            world.apply(step);
            world.check();
        }
        // In the end everything is committed and stored, and clean entries are evicted if there is no room.
        world.commit();
        world.commit();
        world.seal();
        world.commit();
        while !world.jobs.is_empty() {
            world.apply(&Step::Stored);
        }
        world.check();
        prop_assert_eq!(&world.store, &world.open);
        prop_assert_eq!(unwritten(&world.overlay), BTreeSet::new());
        if limit == 0 {
            world.apply(&Step::Evict(200));
            prop_assert_eq!(world.overlay.entries().count(), 0, "clean entries are evicted when there is no room");
            prop_assert_eq!(world.budget.used(), 0);
        }
        let World { overlay, budget, .. } = world;
        drop(overlay);
        prop_assert_eq!(budget.used(), 0);
    }
}

#[test]
fn looking_ahead_finds_all_entries_for_any_number_of_keys() {
    let mut overlay = Overlay::<u16>::new(CacheBudget::new(u64::MAX));
    let mut keys = KeyBatch::default();
    assert_eq!(overlay.prefetch(&keys), 0);
    for number in 0..300_u32 {
        let key = number.to_be_bytes();
        if number % 3 == 0 {
            overlay.insert(&key, Held::Value(1), Timestamp(0));
        }
        keys.push(&key);
    }
    assert_eq!(overlay.prefetch(&keys), 100);
}
