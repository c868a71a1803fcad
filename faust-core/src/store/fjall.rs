//! The adapter for fjall. Only this file uses the crate.
//!
//! All partitions of a table share one keyspace, in which each key begins with the partition: fjall takes time for each
//! keyspace whenever it creates or flushes one. Earlier releases had a keyspace for each partition.
//!
//! fjall's batches are atomic across trees and are passed to the operating system on commit, so entries and mark are
//! written in one batch. Large writes bypass the journal (`ingestion`); the mark then follows in a separate batch.

use std::ops::Bound;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use super::database::is_void;
use super::engine::{Engine, EngineFault, Tree};
use super::port::Write;

/// Name of the keyspace with the marks of all stores.
const MARKS: &str = "marks";

/// Start of the names of the other keyspaces, followed by the name of a table.
const TABLE: &str = "table ";

/// Key of the layout's version in [`MARKS`]. No store has this name, because it lacks a partition.
const LAYOUT: &str = "layout";

/// Version of the layout that this release writes. Version 1 had no entry for it.
const VERSION: &str = "2";

/// Maximum number of entries for which a batch is faster than an ingestion, which starts with a flush to disk.
const BATCH: usize = 20_000;

/// Number of bytes of the partition before each key.
const PREFIX: usize = size_of::<i32>();

/// Maximum length of a key: fjall's limit, less the partition.
const LONGEST_KEY: usize = u16::MAX as usize - PREFIX;

/// Size at which a table's memtable is written to a file. fjall's default is 64 MiB, which is too much for an app with
/// many tables.
const MEMTABLE: u64 = 32 << 20;

/// Size of the block cache. Hot keys are in the tables' own cache.
const CACHE: u64 = 64 << 20;

/// Total size of full journals above which fjall flushes trees to files in order to delete journals. A journal is kept
/// while any of its entries is only in memory, and the tree of the marks never becomes large enough to be flushed by
/// itself. With fjall's default of 512 MiB, journals would accumulate up to that size, and all of them are read
/// whenever the store is opened. This value is the smallest that fjall accepts.
const JOURNALS: u64 = 64 << 20;

/// Time to wait for the lock, which fjall's own threads may hold shortly after this process has closed the database.
const CLOSING: Duration = Duration::from_secs(10);

pub(super) struct Fjall {
    db: Database,
    marks: Keyspace,
}

impl Engine for Fjall {
    type Tree = FjallTree;

    const NAME: &'static str = "fjall";

    fn open(dir: &Path) -> Result<Self, EngineFault> {
        let began = Instant::now();
        let db = loop {
            let builder = Database::builder(dir).cache_size(CACHE).max_journaling_size(JOURNALS);
            match builder.worker_threads(threads()).open() {
                Ok(db) => break db,
                Err(fjall::Error::Locked) if began.elapsed() > CLOSING => return Err(EngineFault::Locked),
                Err(fjall::Error::Locked) => std::thread::sleep(Duration::from_millis(5)),
                Err(error) => return Err(fault(&error)),
            }
        };
        let marks = db.keyspace(MARKS, options).map_err(|error| fault(&error))?;
        let engine = Self { db, marks };
        engine.check_layout()?;
        Ok(engine)
    }

    fn tree(&self, name: &str) -> Result<FjallTree, EngineFault> {
        let (table, partition) = parsed(name)?;
        let keyspace = format!("{TABLE}{table}");
        if keyspace.len() > 255 {
            return Err(EngineFault::Unfit(format!(
                "`{table}` is longer than fjall's limit of {} bytes: shorten the table's name",
                255 - TABLE.len()
            )));
        }
        let entries = self.db.keyspace(&keyspace, options).map_err(|error| fault(&error))?;
        Ok(FjallTree { name: name.to_owned(), partition, db: self.db.clone(), entries, marks: self.marks.clone() })
    }

    fn destroy(&self, name: &str) -> Result<(), EngineFault> {
        self.marks.remove(name).map_err(|error| fault(&error))?;
        let (table, _) = parsed(name)?;
        if self.db.keyspace_exists(&format!("{TABLE}{table}")) { self.tree(name)?.clear() } else { Ok(()) }
    }

    fn names(&self) -> Result<Vec<String>, EngineFault> {
        let keys = self.marks.iter().map(|entry| entry.key().map_err(|error| fault(&error)));
        let names = keys.map(|key| key.map(|key| String::from_utf8_lossy(&key).into_owned()));
        names.filter(|name| name.as_ref().map_or(true, |name| name != LAYOUT)).collect()
    }

    fn size_on_disk(&self) -> Result<u64, EngineFault> {
        self.db.disk_space().map_err(|error| fault(&error))
    }
}

impl Fjall {
    /// Writes the layout's version to a new database.
    fn check_layout(&self) -> Result<(), EngineFault> {
        match self.marks.get(LAYOUT).map_err(|error| fault(&error))? {
            Some(version) if version.as_ref() == VERSION.as_bytes() => Ok(()),
            None if self.db.list_keyspace_names().len() == 1 => {
                self.marks.insert(LAYOUT, VERSION).map_err(|error| fault(&error))
            }
            // Setting it aside restores it from the changelogs, in the new layout.
            _ => Err(EngineFault::Broken("it has the layout of another release of Faust".to_owned())),
        }
    }
}

/// Splits the name of a store into table and partition.
fn parsed(name: &str) -> Result<(&str, i32), EngineFault> {
    let parts = name.rsplit_once('/').and_then(|(table, partition)| Some((table, partition.parse().ok()?)));
    parts.ok_or_else(|| EngineFault::Unfit(format!("`{name}` names no partition of a table")))
}

/// Returns the number of threads for flushes and compactions. They compete with the agents for the cores, and exchange
/// messages with each other while there is little to do: two of them on two cores spent half of their time on that.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 2))
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE)
}

pub(super) struct FjallTree {
    name: String,
    partition: i32,
    db: Database,
    entries: Keyspace,
    marks: Keyspace,
}

impl Tree for FjallTree {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineFault> {
        if key.len() > LONGEST_KEY {
            return Ok(None);
        }
        let value = self.entries.get(self.stored(key)).map_err(|error| fault(&error))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), EngineFault> {
        // The longest start of a bound lies between the same keys as the bound.
        let (from, to) = (clipped(from, Bound::Excluded), clipped(to, Bound::Included));
        if is_void(from, to) {
            return Ok(());
        }
        let from = match from {
            Bound::Unbounded => Bound::Included(self.stored(&[])),
            from => from.map(|key| self.stored(key)),
        };
        let to = match to {
            Bound::Unbounded => Bound::Excluded(self.end()),
            to => to.map(|key| self.stored(key)),
        };
        for entry in self.entries.range::<Vec<u8>, _>((from, to)) {
            let (key, value) = entry.into_inner().map_err(|error| fault(&error))?;
            if !each(key.get(PREFIX..).unwrap_or_default(), &value) {
                break;
            }
        }
        Ok(())
    }

    fn mark(&self) -> Result<Option<Vec<u8>>, EngineFault> {
        let mark = self.marks.get(&self.name).map_err(|error| fault(&error))?;
        Ok(mark.map(|mark| mark.to_vec()))
    }

    fn write(&self, entries: &[Write<'_>], mark: Option<&[u8]>) -> Result<(), EngineFault> {
        if let Some((key, _)) = entries.iter().find(|(key, _)| key.len() > LONGEST_KEY) {
            return Err(EngineFault::Unfit(format!(
                "a key of {} bytes is longer than fjall's limit of {LONGEST_KEY}: shorten it, or set `store` to `sled://`",
                key.len()
            )));
        }
        let in_batch = entries.len() <= BATCH;
        let write = || {
            if !in_batch {
                self.ingest(entries)?;
            }
            let mut batch = self.db.batch();
            for (key, value) in entries.iter().filter(|_| in_batch) {
                match value {
                    Some(value) => batch.insert(&self.entries, self.stored(key), *value),
                    None => batch.remove(&self.entries, self.stored(key)),
                }
            }
            // IMPORTANT: the mark must be written with the entries or after them; see the module's documentation.
            if let Some(mark) = mark {
                batch.insert(&self.marks, self.name.as_str(), mark);
            }
            batch.commit()
        };
        write().map_err(|error| fault(&error))
    }

    /// A batch has reached the operating system when it was committed.
    fn sync(&self) -> Result<(), EngineFault> {
        Ok(())
    }
}

impl FjallTree {
    /// Removes all entries, in bounded steps. Each begins after the last key of the one before: from the first key on, it
    /// would skip the tombstones of all former steps.
    fn clear(&self) -> Result<(), EngineFault> {
        let mut from = Bound::Unbounded;
        loop {
            let mut keys = Vec::new();
            self.range(from.as_ref().map(Vec::as_slice), Bound::Unbounded, &mut |key, _| {
                keys.push(key.to_vec());
                keys.len() < BATCH
            })?;
            let removals: Vec<Write<'_>> = keys.iter().map(|key| (&**key, None)).collect();
            self.write(&removals, None)?;
            match keys.pop() {
                Some(last) if keys.len() + 1 == BATCH => from = Bound::Excluded(last),
                _ => return Ok(()),
            }
        }
    }

    /// Returns the key as it is stored, after the partition. No stored key is empty, which fjall would reject.
    fn stored(&self, key: &[u8]) -> Vec<u8> {
        let mut stored = Vec::with_capacity(PREFIX + key.len());
        stored.extend_from_slice(&self.partition.to_be_bytes());
        stored.extend_from_slice(key);
        stored
    }

    /// Returns the first key after those of the partition. Partitions are not negative.
    fn end(&self) -> Vec<u8> {
        (self.partition.unsigned_abs() + 1).to_be_bytes().to_vec()
    }

    /// Writes files of the tree directly.
    ///
    /// # Panics
    /// Panics if the keys are not in ascending order.
    fn ingest(&self, entries: &[Write<'_>]) -> fjall::Result<()> {
        let mut ingestion = self.entries.start_ingestion()?;
        for (key, value) in entries {
            match value {
                Some(value) => ingestion.write(self.stored(key), *value)?,
                None => ingestion.write_tombstone(self.stored(key))?,
            }
        }
        ingestion.finish()
    }
}

/// Replaces a bound that is longer than every key, which fjall does not accept, by the longest start of it.
fn clipped<'a>(bound: Bound<&'a [u8]>, longer: fn(&'a [u8]) -> Bound<&'a [u8]>) -> Bound<&'a [u8]> {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) if key.len() > LONGEST_KEY => longer(&key[..LONGEST_KEY]),
        bound => bound,
    }
}

fn fault(error: &fjall::Error) -> EngineFault {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => EngineFault::io(error),
        // fjall rejects all operations after a failed write to the disk, until it is reopened.
        fjall::Error::Poisoned => EngineFault::Io("an earlier write to the disk has failed".to_owned()),
        fjall::Error::Locked => EngineFault::Locked,
        other => EngineFault::Broken(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is the test's failure.
    use super::*;
    use crate::store::{StoreKind, StoreName, open};

    #[test]
    fn the_partitions_of_a_table_share_a_keyspace() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Fjall::open(dir.path()).unwrap();
        let trees: Vec<_> = (0..800).map(|partition| engine.tree(&format!("counts/{partition}")).unwrap()).collect();
        for tree in &trees {
            tree.write(&[(b"", Some(tree.name.as_bytes())), (b"\xFF", Some(b"last"))], Some(b"mark")).unwrap();
        }
        assert_eq!((engine.db.list_keyspace_names().len(), engine.names().unwrap().len()), (2, 800));
        engine.destroy("counts/7").unwrap();
        for tree in &trees {
            let mut found = Vec::new();
            let mut each = |key: &[u8], value: &[u8]| {
                found.push((key.to_vec(), value.to_vec()));
                true
            };
            tree.range(Bound::Unbounded, Bound::Unbounded, &mut each).unwrap();
            let expected = vec![(b"".to_vec(), tree.name.clone().into_bytes()), (b"\xFF".to_vec(), b"last".to_vec())];
            assert_eq!(found, if tree.partition == 7 { vec![] } else { expected });
        }
    }

    #[test]
    fn large_partitions_are_removed_completely_and_alone() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Fjall::open(dir.path()).unwrap();
        let trees = [6, 7, 8].map(|partition| engine.tree(&format!("counts/{partition}")).unwrap());
        for count in [BATCH - 1, BATCH, 2 * BATCH + 1] {
            let keys: Vec<_> = (0..u32::try_from(count).unwrap()).map(u32::to_be_bytes).collect();
            let entries: Vec<Write<'_>> = keys.iter().map(|key| (&key[..], Some(&b"1"[..]))).collect();
            trees.iter().for_each(|tree| tree.write(&entries, Some(b"mark")).unwrap());
            engine.destroy("counts/7").unwrap();
            let left = trees.each_ref().map(|tree| {
                let mut left = 0;
                let mut each = |_: &[u8], _: &[u8]| {
                    left += 1;
                    true
                };
                tree.range(Bound::Unbounded, Bound::Unbounded, &mut each).unwrap();
                left
            });
            assert_eq!((left, trees[1].mark().unwrap()), ([count, 0, count], None));
        }
    }

    #[test]
    fn a_database_of_an_earlier_release_is_set_aside() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("state");
        std::fs::create_dir(&dir).unwrap();
        let db = Database::builder(dir.join("data")).open().unwrap();
        db.keyspace(MARKS, options).unwrap().insert("counts/3", "mark").unwrap();
        db.keyspace("counts/3", options).unwrap().insert("key", "value").unwrap();
        drop(db);
        for times in [1, 0] {
            let set = open(StoreKind::Fjall, &dir).unwrap().unwrap();
            assert_eq!((set.set_aside(), set.names().unwrap()), (times, vec![]));
            let store = set.open(&StoreName::new("counts", 3)).unwrap();
            assert_eq!((store.mark().unwrap(), store.get(b"key").unwrap()), (None, None));
        }
        assert!(parent.path().join("state.broken-1/data").is_dir());
    }
}
