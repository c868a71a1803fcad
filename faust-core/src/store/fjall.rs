//! The adapter to fjall. The only file that names it.
//!
//! A batch of fjall is atomic across trees and handed to the operating system when it is committed, so entries and mark
//! are written as one. Large writes bypass the journal (`ingestion`); then the mark follows in a batch of its own.

use std::borrow::Cow;
use std::ops::Bound;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use super::engine::{Engine, Fault, Tree};
use super::port::Write;

/// The tree that holds the marks of all others. No store has such a name, since it lacks a partition.
const MARKS: &str = "marks";

/// The most entries for which a batch is faster than an ingestion, which begins with a flush to disk.
const BATCH: usize = 20_000;

/// The longest key fjall takes, less the byte that [`Stored`] may add.
const LONGEST_KEY: usize = u16::MAX as usize - 1;

/// What a tree gathers in memory before it is sorted into a file. fjall's default is 64 MiB, which is a lot for each
/// partition of each table.
const MEMTABLE: u64 = 16 << 20;

/// Blocks of files kept in memory; hot keys are in the tables' own cache.
const CACHE: u64 = 64 << 20;

/// Bytes of full journals from which on trees are written to files for the sake of the journals. One is kept as long as
/// something in it is in memory only, and the tree of the marks never becomes large enough to leave it by itself: without
/// this, journals stay until there are 512 MiB, fjall's default, all of which is read whenever the store is opened. This is
/// the least that fjall takes.
const JOURNALS: u64 = 64 << 20;

/// fjall's own threads may hold the lock for a moment after it was closed in this process.
const CLOSING: Duration = Duration::from_secs(10);

pub(super) struct Fjall {
    db: Database,
    marks: Keyspace,
}

impl Engine for Fjall {
    type Tree = FjallTree;

    const NAME: &'static str = "fjall";

    fn open(dir: &Path) -> Result<Self, Fault> {
        let began = Instant::now();
        let db = loop {
            let builder = Database::builder(dir).cache_size(CACHE).max_journaling_size(JOURNALS);
            match builder.worker_threads(threads()).open() {
                Ok(db) => break db,
                Err(fjall::Error::Locked) if began.elapsed() > CLOSING => return Err(Fault::Locked),
                Err(fjall::Error::Locked) => std::thread::sleep(Duration::from_millis(5)),
                Err(error) => return Err(fault(&error)),
            }
        };
        let marks = db.keyspace(MARKS, options).map_err(|error| fault(&error))?;
        Ok(Self { db, marks })
    }

    fn tree(&self, name: &str) -> Result<FjallTree, Fault> {
        if name.len() > 255 {
            return Err(Fault::Unfit(format!(
                "`{name}` is longer than the 255 bytes fjall takes: shorten the table's name"
            )));
        }
        let entries = self.db.keyspace(name, options).map_err(|error| fault(&error))?;
        Ok(FjallTree { name: name.to_owned(), db: self.db.clone(), entries, marks: self.marks.clone() })
    }

    fn destroy(&self, name: &str) -> Result<(), Fault> {
        let destroy = || {
            self.marks.remove(name)?;
            if self.db.keyspace_exists(name) {
                self.db.delete_keyspace(self.db.keyspace(name, options)?)?;
            }
            Ok(())
        };
        destroy().map_err(|error| fault(&error))
    }

    fn names(&self) -> Result<Vec<String>, Fault> {
        Ok(self.db.list_keyspace_names().iter().map(|name| name.to_string()).collect())
    }

    fn size_on_disk(&self) -> Result<u64, Fault> {
        self.db.disk_space().map_err(|error| fault(&error))
    }
}

/// For flushes and compactions. They run beside the agents and pass messages to each other while there is little to do:
/// with two on two cores, half of their time was nothing else.
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
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Fault> {
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
    ) -> Result<(), Fault> {
        for entry in self.entries.range::<Cow<'_, [u8]>, _>((from.map(stored), to.map(stored))) {
            let (key, value) = entry.into_inner().map_err(|error| fault(&error))?;
            if !each(original(&key), &value) {
                break;
            }
        }
        Ok(())
    }

    fn mark(&self) -> Result<Option<Vec<u8>>, Fault> {
        let mark = self.marks.get(&self.name).map_err(|error| fault(&error))?;
        Ok(mark.map(|mark| mark.to_vec()))
    }

    fn write(&self, entries: &[Write<'_>], mark: Option<&[u8]>) -> Result<(), Fault> {
        if let Some((key, _)) = entries.iter().find(|(key, _)| key.len() > LONGEST_KEY) {
            return Err(Fault::Unfit(format!(
                "a key of {} bytes is longer than the {LONGEST_KEY} fjall takes: shorten it, or set `store` to `sled://`",
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
            // IMPORTANT: with the entries or after them, see above.
            if let Some(mark) = mark {
                batch.insert(&self.marks, self.name.as_str(), mark);
            }
            batch.commit()
        };
        write().map_err(|error| fault(&error))
    }
}

impl FjallTree {
    /// Writes files of the tree directly. It panics on keys that do not ascend.
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

/// The key as it is stored. fjall takes no empty keys, so those of zeros alone, the empty one among them, get a zero
/// more: that keeps them apart and in order, and costs other keys nothing.
fn stored(key: &[u8]) -> Cow<'_, [u8]> {
    if key.iter().all(|byte| *byte == 0) { Cow::Owned(vec![0; key.len() + 1]) } else { Cow::Borrowed(key) }
}

/// The inverse of [`stored`].
fn original(key: &[u8]) -> &[u8] {
    if key.iter().all(|byte| *byte == 0) { key.get(1..).unwrap_or_default() } else { key }
}

fn fault(error: &fjall::Error) -> Fault {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => Fault::io(error),
        // It refuses everything after a write to the disk has failed; opening it again is the cure.
        fjall::Error::Poisoned => Fault::Io("a write to the disk has failed before".to_owned()),
        fjall::Error::Locked => Fault::Locked,
        other => Fault::Broken(other.to_string()),
    }
}
