//! Tests of a disk that fails temporarily: the engine is reopened, and open stores stay usable.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};

use bytes::Bytes;

use super::super::database;
use super::super::engine::{Engine, EngineFault, Tree};
use super::*;
use crate::store::port::Write;

/// An in-memory engine that, like the real ones, rejects all writes after one has failed.
struct Fragile {
    poisoned: Arc<AtomicU32>,
}

/// The simulated disk, which outlives the engine. Only one test at a time uses it.
static DISK: LazyLock<Mutex<BTreeMap<String, Contents>>> = LazyLock::new(Mutex::default);
/// Number of writes to the disk that are still to fail.
static FAILING: AtomicU32 = AtomicU32::new(0);
static OPENED: AtomicU32 = AtomicU32::new(0);

struct FragileTree {
    name: String,
    poisoned: Arc<AtomicU32>,
}

impl Engine for Fragile {
    type Tree = FragileTree;

    const NAME: &'static str = "fragile";

    fn open(_: &Path) -> Result<Self, EngineFault> {
        OPENED.fetch_add(1, Ordering::SeqCst);
        Ok(Self { poisoned: Arc::default() })
    }

    fn tree(&self, name: &str) -> Result<FragileTree, EngineFault> {
        Ok(FragileTree { name: name.to_owned(), poisoned: Arc::clone(&self.poisoned) })
    }

    fn destroy(&self, name: &str) -> Result<(), EngineFault> {
        DISK.lock().unwrap().remove(name);
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, EngineFault> {
        Ok(DISK.lock().unwrap().keys().cloned().collect())
    }

    fn size_on_disk(&self) -> Result<u64, EngineFault> {
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

    fn write(&self, entries: &[Write<'_>], _: Option<&[u8]>) -> Result<(), EngineFault> {
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
