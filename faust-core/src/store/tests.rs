//! Tests of the guarantees of every store, run on each engine.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod broken;
mod fake;
#[cfg(target_os = "linux")]
mod full;
mod kill;
#[cfg(any(feature = "sled", feature = "fjall"))]
mod mended;
mod model;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

pub(crate) use self::fake::FakeStore;
use super::port::Write;
use super::*;
use crate::time::Timestamp;

/// A key and its new value, owned.
pub(super) type Change = (Vec<u8>, Option<Vec<u8>>);

/// The contents of a store.
pub(super) type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// Runs a test on each engine that is compiled in.
fn on_each_engine(test: impl Fn(StoreKind)) {
    StoreKind::COMPILED_IN.iter().filter(|kind| **kind != StoreKind::Memory).for_each(|kind| test(*kind));
}

fn open_set(kind: StoreKind, dir: &Path) -> Arc<dyn StoreSet> {
    open(kind, dir).unwrap().expect("an engine")
}

/// Returns the time of the entries in batches.
fn time() -> Timestamp {
    Timestamp(5)
}

/// Returns an entry of a batch as stores hold it.
pub(crate) fn stored(value: impl AsRef<[u8]>) -> Vec<u8> {
    [&time().0.to_be_bytes(), value.as_ref()].concat()
}

/// Creates a batch of changes, in their order.
pub(super) fn sealed(changes: &[Change]) -> Sealed {
    let mut builder = SealedBuilder::default();
    for (key, value) in changes {
        let write = |bytes: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(bytes);
            Ok::<_, StoreError>(())
        };
        match value {
            Some(value) => builder.push(false, time(), |out| write(key, out), |out| write(value, out)).unwrap(),
            None => builder.remove(false, time(), |out| write(key, out)).unwrap(),
        }
    }
    builder.finish()
}

fn write(store: &dyn Store, changes: &[Change], mark: &str) {
    let ordered: BTreeMap<_, _> = changes.iter().cloned().collect();
    let entries: Vec<Write<'_>> = ordered.iter().map(|(key, value)| (&**key, value.as_deref())).collect();
    store.write(&entries, Some(mark.as_bytes())).and_then(|()| store.sync()).unwrap();
}

fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Change {
    (key.as_ref().to_vec(), Some(value.as_ref().to_vec()))
}

fn gone(key: impl AsRef<[u8]>) -> Change {
    (key.as_ref().to_vec(), None)
}

pub(super) fn contents(store: &dyn Store) -> Contents {
    between(store, Bound::Unbounded, Bound::Unbounded).into_iter().collect()
}

fn between(store: &dyn Store, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let mut each = |key: &[u8], value: &[u8]| {
        found.push((key.to_vec(), value.to_vec()));
        true
    };
    store.range(from, to, &mut each).unwrap();
    found
}

fn counts() -> StoreName {
    StoreName::new("counts", 3)
}

#[test]
fn writes_are_read_back_also_after_a_restart() {
    on_each_engine(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let long = "x".repeat(300_000);
        let set = open_set(kind, dir.path());
        let store = set.open(&counts()).unwrap();
        assert_eq!((store.get(b"a").unwrap(), store.mark().unwrap()), (None, None));
        write(&*store, &[put("a", "1"), put("b", ""), put("c", &long), gone("d")], "first");
        write(&*store, &[put("a", "2"), gone("b"), put(vec![7; 60_000], "long key")], "second");
        drop(store);
        let check = |set: Arc<dyn StoreSet>| {
            let store = set.open(&counts()).unwrap();
            assert_eq!(store.get(b"a").unwrap().as_deref(), Some(&b"2"[..]), "{kind}");
            assert_eq!((store.get(b"b").unwrap(), store.get(b"d").unwrap()), (None, None));
            assert_eq!(store.get(b"c").unwrap().as_deref(), Some(long.as_bytes()));
            assert_eq!(store.mark().unwrap().as_deref(), Some(&b"second"[..]));
            assert_eq!(contents(&*store).len(), 3);
        };
        check(set);
        check(open_set(kind, dir.path()));
    });
}

#[test]
fn stores_of_one_database_are_independent() {
    on_each_engine(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let set = open_set(kind, dir.path());
        let names =
            [StoreName::new("a", 0), StoreName::new("a", 11), StoreName::new("b/c", 2), StoreName::new("ä b", 0)];
        for name in &names {
            write(&*set.open(name).unwrap(), &[put("key", name.to_string())], &name.to_string());
        }
        for name in &names {
            let store = set.open(name).unwrap();
            assert_eq!(contents(&*store), Contents::from([(b"key".to_vec(), name.to_string().into_bytes())]));
            assert_eq!(store.mark().unwrap().unwrap(), name.to_string().into_bytes());
        }
        assert_eq!(set.names().unwrap(), names);
        assert_eq!(set.describe(), format!("{} at {}", kind.scheme(), dir.path().display()));
        assert_eq!(set.set_aside(), 0);
        assert!(set.size_on_disk().unwrap() > 0);
    });
}

#[test]
fn ranges_are_in_byte_order_and_stop_when_the_visitor_returns_false() {
    on_each_engine(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let store = open_set(kind, dir.path()).open(&counts()).unwrap();
        let keys: [&[u8]; 7] = [&[], &[0], &[0, 0], &[0, 0, 1], &[0, 1], b"b", &[255, 255]];
        let mut shuffled: Vec<Change> = keys.iter().map(|key| put(key, key)).collect();
        shuffled.rotate_left(3);
        write(&*store, &shuffled, "m");
        let found = |from, to| -> Vec<Vec<u8>> { between(&*store, from, to).into_iter().map(|(key, _)| key).collect() };
        assert_eq!(found(Bound::Unbounded, Bound::Unbounded), keys);
        let bounds = |key: usize| [Bound::Unbounded, Bound::Included(keys[key]), Bound::Excluded(keys[key])];
        for (first, last) in (0..keys.len()).flat_map(|first| (0..keys.len()).map(move |last| (first, last))) {
            for (from, to) in bounds(first).into_iter().flat_map(|from| bounds(last).map(|to| (from, to))) {
                let after = |key: &&&[u8]| match from {
                    Bound::Unbounded => true,
                    Bound::Included(from) => **key >= from,
                    Bound::Excluded(from) => **key > from,
                };
                let before = |key: &&&[u8]| match to {
                    Bound::Unbounded => true,
                    Bound::Included(to) => **key <= to,
                    Bound::Excluded(to) => **key < to,
                };
                let expected: Vec<_> = keys.iter().filter(after).filter(before).map(|key| key.to_vec()).collect();
                assert_eq!(found(from, to), expected, "{kind}: {from:?} {to:?}");
            }
        }
        let mut seen = 0;
        let mut two = |_: &[u8], _: &[u8]| {
            seen += 1;
            seen < 2
        };
        store.range(Bound::Unbounded, Bound::Unbounded, &mut two).unwrap();
        assert_eq!(seen, 2);
    });
}

/// Law: a bound may be longer than any key that the engine can hold.
#[test]
fn ranges_end_at_bounds_that_are_longer_than_every_key() {
    on_each_engine(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let store = open_set(kind, dir.path()).open(&counts()).unwrap();
        // The longest key of fjall, and its neighbors.
        let longest = vec![b'x'; 65_531];
        let keys = [b"w".to_vec(), b"x".to_vec(), longest.clone(), b"xy".to_vec()];
        write(&*store, &keys.iter().map(|key| put(key, "1")).collect::<Vec<_>>(), "m");
        let found = |from, to| -> Vec<Vec<u8>> { between(&*store, from, to).into_iter().map(|(key, _)| key).collect() };
        let text = vec![b'x'; 80_000];
        let (long, longer) = (&text[..70_000], &*text);
        for bound in [Bound::Included, Bound::Excluded] {
            assert_eq!(found(bound(long), Bound::Unbounded), keys[3..], "{kind}");
            assert_eq!(found(Bound::Unbounded, bound(long)), keys[..3], "{kind}");
            assert_eq!(found(bound(long), bound(longer)), Vec::<Vec<u8>>::new(), "{kind}");
            assert_eq!(found(Bound::Included(&*longest), bound(long)), keys[2..3], "{kind}");
            assert_eq!(found(Bound::Excluded(&*longest), bound(long)), Vec::<Vec<u8>>::new(), "{kind}");
        }
        assert_eq!(store.get(b"w").unwrap().as_deref(), Some(&b"1"[..]), "{kind} is not broken");
    });
}

#[test]
fn a_panic_of_the_visitor_does_not_mark_the_store_as_broken() {
    on_each_engine(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let store = open_set(kind, dir.path()).open(&counts()).unwrap();
        write(&*store, &[put("a", "1")], "m");
        let visit = || store.range(Bound::Unbounded, Bound::Unbounded, &mut |_, _| panic!("a panic of the visitor"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(visit)).is_err());
        assert_eq!(store.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
    });
}

#[test]
fn large_writes_behave_like_small_ones() {
    on_each_engine(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let set = open_set(kind, dir.path());
        let store = set.open(&counts()).unwrap();
        let key = |n: u32| n.to_be_bytes();
        write(&*store, &(0..30_000).map(|n| put(key(n), "old")).collect::<Vec<_>>(), "1");
        write(&*store, &(100..200).map(|n| put(key(n), "small")).collect::<Vec<_>>(), "2");
        let large: Vec<_> = (150..25_000).map(|n| if n % 3 == 0 { gone(key(n)) } else { put(key(n), "new") }).collect();
        write(&*store, &large, "3");
        write(&*store, &[put(key(151), "last")], "4");
        drop(store);
        drop(set);
        let store = open_set(kind, dir.path()).open(&counts()).unwrap();
        let get = |n: u32| store.get(&key(n)).unwrap().map(|value| String::from_utf8(value.to_vec()).unwrap());
        assert_eq!(get(149).as_deref(), Some("small"));
        assert_eq!((get(150), get(24_000)), (None, None));
        assert_eq!((get(151).as_deref(), get(152).as_deref()), (Some("last"), Some("new")));
        assert_eq!((get(25_000).as_deref(), get(30_000)), (Some("old"), None));
        assert_eq!(contents(&*store).len(), 30_000 - (150..25_000).filter(|n| n % 3 == 0).count());
        assert_eq!(store.mark().unwrap().unwrap(), b"4");
    });
}

#[test]
fn a_destroyed_store_fails_for_all_its_handles() {
    on_each_engine(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let set = open_set(kind, dir.path());
        let old = set.open(&counts()).unwrap();
        write(&*old, &[put("a", "1")], "m");
        set.destroy(&counts()).unwrap();
        set.destroy(&counts()).unwrap();
        assert_eq!(old.get(b"a").unwrap_err().kind(), StoreErrorKind::Gone);
        assert_eq!(old.write(&[], Some(b"m")).unwrap_err().kind(), StoreErrorKind::Gone);
        assert_eq!(set.names().unwrap(), []);
        let new = set.open(&counts()).unwrap();
        assert_eq!((new.mark().unwrap(), contents(&*new)), (None, Contents::new()));
        write(&*new, &[put("b", "2")], "n");
        drop((old, new, set));
        let store = open_set(kind, dir.path()).open(&counts()).unwrap();
        assert_eq!(contents(&*store), Contents::from([(b"b".to_vec(), b"2".to_vec())]));
    });
}

/// The entries of an interrupted restore may have been removed since, by records that are no longer in the changelog.
#[test]
fn a_store_without_a_mark_opens_empty() {
    on_each_engine(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let set = open_set(kind, dir.path());
        let store = set.open(&counts()).unwrap();
        store.write(&[(b"a", Some(b"1"))], None).unwrap();
        let same = set.open(&counts()).unwrap();
        assert_eq!(same.get(b"a").unwrap().as_deref(), Some(&b"1"[..]), "an open store keeps its entries");
        drop((store, same));
        assert_eq!(contents(&*set.open(&counts()).unwrap()), Contents::new());
    });
}

#[test]
fn a_kind_that_is_not_compiled_in_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    for (kind, compiled_in) in [(StoreKind::Sled, cfg!(feature = "sled")), (StoreKind::Fjall, cfg!(feature = "fjall"))]
    {
        if !compiled_in {
            let error = open(kind, dir.path()).err().unwrap();
            assert_eq!(error.kind(), StoreErrorKind::Unfit);
            assert!(
                error.to_string().contains(&format!("`{kind}` at {}: not compiled in", dir.path().display())),
                "{error}"
            );
        }
    }
    assert!(open(StoreKind::Memory, dir.path()).unwrap().is_none());
}

#[cfg(feature = "fjall")]
#[test]
fn unsupported_keys_and_names_are_reported_without_side_effects() {
    let dir = tempfile::tempdir().unwrap();
    let set = open_set(StoreKind::Fjall, dir.path());
    let store = set.open(&counts()).unwrap();
    let key = vec![1; 70_000];
    let error = store.write(&[(&key, Some(b"1"))], Some(b"m")).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unfit);
    assert!(error.to_string().contains("70000 bytes") && error.to_string().contains("sled://"), "{error}");
    assert_eq!((store.get(&key).unwrap(), store.mark().unwrap()), (None, None));
    assert_eq!(set.open(&StoreName::new("x".repeat(300), 0)).err().unwrap().kind(), StoreErrorKind::Unfit);
}
