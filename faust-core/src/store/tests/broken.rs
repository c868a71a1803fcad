//! Tests of databases that cannot be opened: damaged ones are set aside, those in use by other processes are not.

use std::fs::OpenOptions;
use std::path::PathBuf;

use super::*;

/// Creates a database with entries, and closes it.
fn filled(kind: StoreKind, dir: &Path) {
    let set = open_set(kind, dir);
    let store = set.open(&counts()).unwrap();
    write(&*store, &(0..3_000_u32).map(|n| put(n.to_be_bytes(), vec![7; 100])).collect::<Vec<_>>(), "m");
    write(&*store, &(0..25_000_u32).map(|n| put(n.to_be_bytes(), vec![8; 20])).collect::<Vec<_>>(), "n");
    write(&*store, &[put("large", vec![9; 200_000])], "o");
}

/// Returns all non-empty files of the engine.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut waiting = vec![dir.join("data")];
    let mut files = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.metadata().unwrap().len() > 0 {
            files.push(path);
        }
    }
    files.sort();
    assert!(!files.is_empty());
    files
}

fn garbage(path: &Path) {
    let length = path.metadata().unwrap().len().min(4 << 20);
    let noise = (0..length).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u8).collect::<Vec<_>>();
    std::fs::write(path, noise).unwrap();
}

fn truncated(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

fn missing(path: &Path) {
    std::fs::remove_file(path).unwrap();
}

/// A kind of damage to a file: its name, and the function that inflicts it.
type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 3] = [("garbage", garbage), ("truncated", truncated), ("missing", missing)];

/// Opens the database repeatedly until all of it can be read, and returns the number of databases set aside.
fn read_all(kind: StoreKind, dir: &Path) -> u64 {
    let mut set_aside = 0;
    for _ in 0..3 {
        let set = open_set(kind, dir);
        set_aside += set.set_aside();
        let read = set.open(&counts()).and_then(|store| {
            store.range(Bound::Unbounded, Bound::Unbounded, &mut |_, _| true)?;
            store.mark()?;
            store.write(&[(b"new", Some(b"1"))], Some(b"p"))?;
            store.sync()?;
            assert_eq!(store.get(b"new")?.as_deref(), Some(&b"1"[..]));
            Ok(())
        });
        match read {
            Ok(()) => return set_aside,
            // This damage is detected only when a page is read; the database is set aside at the next start.
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::Broken, "{error}"),
        }
    }
    panic!("{kind} does not recover");
}

/// For each file and each kind of damage: a working database replaces the damaged one, and the damaged one is kept.
#[test]
fn damage_never_keeps_a_worker_from_starting() {
    on_each_engine(|kind| {
        let model = tempfile::tempdir().unwrap();
        let model = model.path();
        filled(kind, model);
        let mut set_aside = 0;
        for file in files(model) {
            let file = file.strip_prefix(model).unwrap().to_owned();
            for (damage, inflict) in DAMAGES {
                // Removed with each case: together, they would take gigabytes.
                let parent = tempfile::tempdir().unwrap();
                let dir = parent.path().join("case");
                copy(model, &dir);
                inflict(&dir.join(&file));
                let times = read_all(kind, &dir);
                let kept = dir.with_file_name("case.broken-1");
                assert_eq!(kept.exists(), times > 0, "{kind}: {} {damage}", file.display());
                set_aside += times;
            }
        }
        assert!(set_aside > 0, "{kind}: no damage was detected: the test proves nothing");
    });
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn each_broken_database_is_kept_under_its_own_name() {
    on_each_engine(|kind| {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("state");
        for number in 1..=2 {
            filled(kind, &dir);
            files(&dir).iter().for_each(|file| garbage(file));
            let set = open_set(kind, &dir);
            assert_eq!((set.set_aside(), set.names().unwrap()), (1, vec![]), "{kind}");
            assert!(parent.path().join(format!("state.broken-{number}")).is_dir());
        }
        assert_eq!(open_set(kind, &dir).set_aside(), 0);
    });
}

#[test]
fn a_database_marked_as_broken_is_set_aside_at_the_next_start() {
    on_each_engine(|kind| {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("state");
        filled(kind, &dir);
        std::fs::write(dir.join("broken"), "a page could not be read").unwrap();
        let set = open_set(kind, &dir);
        assert_eq!((set.set_aside(), set.names().unwrap()), (1, vec![]));
        assert!(parent.path().join("state.broken-1/broken").exists());
    });
}

#[test]
fn a_database_in_use_is_not_broken() {
    on_each_engine(|kind| {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("state");
        let first = open_set(kind, &dir);
        let error = open(kind, &dir).err().unwrap();
        assert_eq!(error.kind(), StoreErrorKind::Locked);
        let text = error.to_string();
        assert!(text.contains("is used by another process") && text.contains(dir.to_str().unwrap()), "{text}");
        drop(first);
        assert_eq!(open_set(kind, &dir).set_aside(), 0);
    });
}

#[test]
fn a_directory_that_cannot_be_created_is_an_error_with_its_name() {
    on_each_engine(|kind| {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("state");
        std::fs::write(&dir, "a file").unwrap();
        let error = open(kind, &dir).err().unwrap();
        assert_eq!(error.kind(), StoreErrorKind::Io);
        assert!(error.to_string().contains(dir.to_str().unwrap()), "{error}");
    });
}
