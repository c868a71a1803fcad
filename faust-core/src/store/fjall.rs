//! The adapter for fjall. Only this file uses the crate.
//!
//! fjall's batches are atomic across trees and are passed to the operating system on commit, so entries and mark are
//! written in one batch. Large writes bypass the journal (`ingestion`); the mark then follows in a separate batch.

use std::borrow::Cow;
use std::ops::Bound;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use super::engine::{Engine, EngineFault, Tree};
use super::port::Write;

/// Name of the tree with the marks of all stores. No store has this name, because it lacks a partition.
const MARKS: &str = "marks";

/// Maximum number of entries for which a batch is faster than an ingestion, which starts with a flush to disk.
const BATCH: usize = 20_000;

/// Maximum length of a key: fjall's limit, less the byte that [`stored`] may add.
const LONGEST_KEY: usize = u16::MAX as usize - 1;

/// Size at which a tree's memtable is written to a file. fjall's default is 64 MiB, which is too much for each
/// partition of each table.
const MEMTABLE: u64 = 16 << 20;

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
        Ok(Self { db, marks })
    }

    fn tree(&self, name: &str) -> Result<FjallTree, EngineFault> {
        if name.len() > 255 {
            return Err(EngineFault::Unfit(format!(
                "`{name}` is longer than fjall's limit of 255 bytes: shorten the table's name"
            )));
        }
        let entries = self.db.keyspace(name, options).map_err(|error| fault(&error))?;
        Ok(FjallTree { name: name.to_owned(), db: self.db.clone(), entries, marks: self.marks.clone() })
    }

    fn destroy(&self, name: &str) -> Result<(), EngineFault> {
        let destroy = || {
            self.marks.remove(name)?;
            if self.db.keyspace_exists(name) {
                self.db.delete_keyspace(self.db.keyspace(name, options)?)?;
            }
            Ok(())
        };
        destroy().map_err(|error| fault(&error))
    }

    fn names(&self) -> Result<Vec<String>, EngineFault> {
        Ok(self.db.list_keyspace_names().iter().map(|name| name.to_string()).collect())
    }

    fn size_on_disk(&self) -> Result<u64, EngineFault> {
        self.db.disk_space().map_err(|error| fault(&error))
    }
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
    db: Database,
    entries: Keyspace,
    marks: Keyspace,
}

impl Tree for FjallTree {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineFault> {
        if key.len() > LONGEST_KEY {
            return Ok(None);
        }
        let value = self.entries.get(stored(key)).map_err(|error| fault(&error))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), EngineFault> {
        for entry in self.entries.range::<Cow<'_, [u8]>, _>((from.map(stored), to.map(stored))) {
            let (key, value) = entry.into_inner().map_err(|error| fault(&error))?;
            if !each(original(&key), &value) {
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
                    Some(value) => batch.insert(&self.entries, &*stored(key), *value),
                    None => batch.remove(&self.entries, &*stored(key)),
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
}

impl FjallTree {
    /// Writes files of the tree directly.
    ///
    /// # Panics
    /// Panics if the keys are not in ascending order.
    fn ingest(&self, entries: &[Write<'_>]) -> fjall::Result<()> {
        let mut ingestion = self.entries.start_ingestion()?;
        for (key, value) in entries {
            match value {
                Some(value) => ingestion.write(&*stored(key), *value)?,
                None => ingestion.write_tombstone(&*stored(key))?,
            }
        }
        ingestion.finish()
    }
}

/// Returns the key as it is stored. fjall rejects empty keys, so one zero is appended to keys that consist only of
/// zeros, including the empty key. This keeps keys distinct and in order, at no cost for other keys.
fn stored(key: &[u8]) -> Cow<'_, [u8]> {
    if key.iter().all(|byte| *byte == 0) { Cow::Owned(vec![0; key.len() + 1]) } else { Cow::Borrowed(key) }
}

/// Inverts [`stored`].
fn original(key: &[u8]) -> &[u8] {
    if key.iter().all(|byte| *byte == 0) { key.get(1..).unwrap_or_default() } else { key }
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
