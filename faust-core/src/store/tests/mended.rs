//! Tests of a disk that fails temporarily: the engine is reopened, and open stores stay usable.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};

use bytes::Bytes;

use super::super::database;
use super::super::engine::{Engine, EngineFault, Tree};
use super::*;
use crate::store::port::Write;

/// An in-memory engine that, like the real ones, rejects all writes after one has failed.
struct Fragile {
    poisoned: Arc<AtomicU32>,
    /// The file that locks the directory.
    lock: PathBuf,
}

impl Drop for Fragile {
    fn drop(&mut self) {
        CLOSED_UNLOCKED.fetch_or(!lock::is_held(&self.lock), Ordering::SeqCst);
    }
}

/// The simulated disk, which outlives the engine. Only one test at a time uses it.
static DISK: LazyLock<Mutex<BTreeMap<String, Contents>>> = LazyLock::new(Mutex::default);
/// Number of syncs.
static SYNCS: AtomicU32 = AtomicU32::new(0);
/// Number of writes to the disk that are still to fail.
static FAILING: AtomicU32 = AtomicU32::new(0);
static OPENED: AtomicU32 = AtomicU32::new(0);
/// Number of calls that change an engine that has failed.
static CALLS_AFTER_FAILURE: AtomicU32 = AtomicU32::new(0);
/// Set when an engine was closed after its directory was unlocked.
static CLOSED_UNLOCKED: AtomicBool = AtomicBool::new(false);
/// Tests of the disk run one after the other.
static TURN: Mutex<()> = Mutex::new(());

struct FragileTree {
    name: String,
    poisoned: Arc<AtomicU32>,
}

fn note_call(poisoned: &AtomicU32) {
    CALLS_AFTER_FAILURE.fetch_add(poisoned.load(Ordering::SeqCst), Ordering::SeqCst);
}

impl Engine for Fragile {
    type Tree = FragileTree;

    const NAME: &'static str = "fragile";

    fn open(dir: &Path) -> Result<Self, EngineFault> {
        OPENED.fetch_add(1, Ordering::SeqCst);
        Ok(Self { poisoned: Arc::default(), lock: dir.with_file_name("lock") })
    }

    fn tree(&self, name: &str) -> Result<FragileTree, EngineFault> {
        note_call(&self.poisoned);
        Ok(FragileTree { name: name.to_owned(), poisoned: Arc::clone(&self.poisoned) })
    }

    fn destroy(&self, name: &str) -> Result<(), EngineFault> {
        note_call(&self.poisoned);
        DISK.lock().unwrap().remove(name);
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, EngineFault> {
        Ok(DISK.lock().unwrap().keys().cloned().collect())
    }

    fn size_on_disk(&self) -> Result<u64, EngineFault> {
        note_call(&self.poisoned);
        Ok(0)
    }
}

impl Tree for FragileTree {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineFault> {
        let disk = DISK.lock().unwrap();
        Ok(disk.get(&self.name).and_then(|tree| tree.get(key)).map(|value| Bytes::copy_from_slice(value)))
    }

    fn range(
        &self,
        _: Bound<&[u8]>,
        _: Bound<&[u8]>,
        _: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), EngineFault> {
        Ok(())
    }

    fn mark(&self) -> Result<Option<Vec<u8>>, EngineFault> {
        Ok(None)
    }

    fn sync(&self) -> Result<(), EngineFault> {
        SYNCS.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn write(&self, entries: &[Write<'_>], _: Option<&[u8]>) -> Result<(), EngineFault> {
        note_call(&self.poisoned);
        let fails = FAILING.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if fails || self.poisoned.load(Ordering::SeqCst) > 0 {
            self.poisoned.store(1, Ordering::SeqCst);
            return Err(EngineFault::Io("no space left".to_owned()));
        }
        let mut disk = DISK.lock().unwrap();
        let tree = disk.entry(self.name.clone()).or_default();
        tree.extend(entries.iter().filter_map(|(key, value)| Some((key.to_vec(), (*value)?.to_vec()))));
        Ok(())
    }
}

#[test]
fn a_failed_write_reopens_the_engine_for_all_stores() {
    let _turn = TURN.lock().unwrap();
    OPENED.store(0, Ordering::SeqCst);
    let dir = tempfile::tempdir().unwrap();
    let set: Arc<dyn StoreSet> = database::open::<Fragile>(dir.path()).unwrap();
    let (one, other) = (set.open(&counts()).unwrap(), set.open(&StoreName::new("other", 0)).unwrap());
    let destroyed = set.open(&StoreName::new("destroyed", 0)).unwrap();
    set.destroy(&StoreName::new("destroyed", 0)).unwrap();
    write(&*one, &[put("a", "1")], "m");
    assert_eq!(OPENED.load(Ordering::SeqCst), 1);

    FAILING.store(1, Ordering::SeqCst);
    write(&*one, &[put("a", "2")], "n");
    write(&*other, &[put("b", "3")], "n");
    assert_eq!(OPENED.load(Ordering::SeqCst), 2, "one failure reopens the engine once");
    assert_eq!(destroyed.get(b"a").unwrap_err().kind(), StoreErrorKind::Gone);

    FAILING.store(2, Ordering::SeqCst);
    let error = other.write(&[(b"b", Some(b"4"))], None).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Io);
    assert!(error.to_string().contains("no space left") && error.to_string().contains("has room"), "{error}");
    assert_eq!(one.get(b"a").unwrap().as_deref(), Some(&b"2"[..]), "reads continue");
    write(&*other, &[put("b", "4")], "o");
    assert_eq!(other.get(b"b").unwrap().as_deref(), Some(&b"4"[..]));
}

/// Law: while the disk is full, an engine that has failed is read, and nothing else; a call into it may never return.
#[test]
fn an_engine_that_has_failed_is_not_called_before_it_is_open_again() {
    let _turn = TURN.lock().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let set: Arc<dyn StoreSet> = database::open::<Fragile>(dir.path()).unwrap();
    let [one, other] = ["one", "other"].map(|name| set.open(&StoreName::new(name, 1)).unwrap());
    write(&*one, &[put("a", "1")], "m");
    CALLS_AFTER_FAILURE.store(0, Ordering::SeqCst);
    let opened = OPENED.load(Ordering::SeqCst);

    // The file that shows whether the disk has room cannot be written.
    std::fs::create_dir(dir.path().join("probe")).unwrap();
    FAILING.store(1, Ordering::SeqCst);
    for store in [&one, &other, &one] {
        assert_eq!(store.write(&[(b"a", Some(b"2"))], None).unwrap_err().kind(), StoreErrorKind::Io);
    }
    assert_eq!(set.size_on_disk().unwrap_err().kind(), StoreErrorKind::Io);
    assert_eq!(set.open(&StoreName::new("new", 1)).err().unwrap().kind(), StoreErrorKind::Io);
    assert_eq!(set.destroy(&StoreName::new("new", 1)).unwrap_err().kind(), StoreErrorKind::Io);
    set.open(&StoreName::new("other", 1)).expect("a store that is open already needs no call");
    assert_eq!(one.get(b"a").unwrap().as_deref(), Some(&b"1"[..]), "reads continue");
    assert_eq!((CALLS_AFTER_FAILURE.load(Ordering::SeqCst), OPENED.load(Ordering::SeqCst)), (0, opened));

    std::fs::remove_dir(dir.path().join("probe")).unwrap();
    write(&*other, &[put("a", "3")], "n");
    write(&*one, &[put("a", "2")], "n");
    assert_eq!(one.get(b"a").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!((CALLS_AFTER_FAILURE.load(Ordering::SeqCst), OPENED.load(Ordering::SeqCst)), (0, opened + 1));
}

/// Law: another process can open the database only once this one has closed it.
#[test]
fn the_directory_is_locked_until_the_engine_is_closed() {
    let _turn = TURN.lock().unwrap();
    let dir = tempfile::tempdir().unwrap();
    CLOSED_UNLOCKED.store(false, Ordering::SeqCst);
    let set: Arc<dyn StoreSet> = database::open::<Fragile>(dir.path()).unwrap();
    let store = set.open(&counts()).unwrap();
    drop(set);
    assert!(lock::is_held(&dir.path().join("lock")), "the store keeps its database open");
    drop(store);
    assert!(!lock::is_held(&dir.path().join("lock")) && !CLOSED_UNLOCKED.load(Ordering::SeqCst));
}

/// Law: a sync reports that an engine was opened again since a write, which may be lost.
#[test]
fn what_was_not_synced_before_the_engine_failed_must_be_written_again() {
    let _turn = TURN.lock().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let set: Arc<dyn StoreSet> = database::open::<Fragile>(dir.path()).unwrap();
    let [one, other, idle] = ["one", "other", "idle"].map(|name| set.open(&StoreName::new(name, 2)).unwrap());
    one.write(&[(b"a", Some(b"1"))], Some(b"m")).unwrap();
    FAILING.store(1, Ordering::SeqCst);
    other.write(&[(b"a", Some(b"1"))], Some(b"m")).unwrap();
    assert_eq!(one.sync().unwrap_err().kind(), StoreErrorKind::Io);
    assert_eq!([idle.sync(), other.sync()].map(|synced| synced.is_ok()), [true; 2]);
    let syncs = SYNCS.load(Ordering::SeqCst);
    for store in [&one, &other] {
        store.write(&[(b"a", Some(b"1"))], Some(b"m")).unwrap();
    }
    for store in [&one, &other, &idle] {
        store.sync().unwrap();
    }
    assert_eq!(SYNCS.load(Ordering::SeqCst), syncs + 1, "one flush for all");
    // While the disk is full, the engine that has failed is not called.
    std::fs::create_dir(dir.path().join("probe")).unwrap();
    one.write(&[(b"a", Some(b"2"))], Some(b"n")).unwrap();
    FAILING.store(1, Ordering::SeqCst);
    assert_eq!(other.write(&[(b"a", Some(b"2"))], None).unwrap_err().kind(), StoreErrorKind::Io);
    assert_eq!(one.sync().unwrap_err().kind(), StoreErrorKind::Io);
}

/// Law: the mark is never ahead of the entries, also after a crash before the next sync. What was written in an earlier opening
/// of the engine and not synced may be lost.
#[test]
fn a_mark_is_not_written_if_entries_before_it_may_be_lost() {
    let _turn = TURN.lock().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let set: Arc<dyn StoreSet> = database::open::<Fragile>(dir.path()).unwrap();
    let store = set.open(&StoreName::new("chunks", 2)).unwrap();
    store.write(&[(b"a", Some(b"1"))], None).unwrap();
    // The engine fails and is opened again, so that the first chunk may be lost.
    FAILING.store(1, Ordering::SeqCst);
    assert_eq!(store.write(&[(b"b", Some(b"1"))], Some(b"m")).unwrap_err().kind(), StoreErrorKind::Io);
    // All of it is written again.
    store.write(&[(b"a", Some(b"1"))], None).unwrap();
    store.write(&[(b"b", Some(b"1"))], Some(b"m")).and_then(|()| store.sync()).unwrap();
}
