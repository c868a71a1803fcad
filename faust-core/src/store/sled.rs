//! The adapter for sled. Only this file uses the crate.
//!
//! sled appends every change to one log, across all trees, and after a crash recovers that log up to the first gap. The
//! recovered writes of one thread are therefore a prefix of all its writes, whichever buffers had reached the disk. For
//! this reason the mark is written after the entries, to a tree of its own. A flush covers all trees: after it, everything
//! written before survives. The kill tests in `store/tests/kill.rs` verify this.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::engine::{Engine, EngineFault, Tree};
use super::port::Write;
use super::watch::Waker;

/// Name of the tree with the marks of all stores. No store has this name, because it lacks a partition.
const MARKS: &str = "marks";

/// Size of sled's page cache, which is 1 GB by default. Hot keys are in the tables' own cache.
const CACHE: u64 = 64 << 20;

/// Time to wait for the lock, which sled's own threads may hold shortly after this process has closed the database.
const CLOSING: Duration = Duration::from_secs(10);

pub(super) struct Sled {
    config: sled::Config,
    db: sled::Db,
    marks: sled::Tree,
}

impl Engine for Sled {
    type Tree = SledTree;

    const NAME: &'static str = "sled";

    fn open(dir: &Path) -> Result<Self, EngineFault> {
        let began = Instant::now();
        let (config, db) = loop {
            // The store writer flushes after each round, so sled's thread for periodic flushes is not needed.
            let config = sled::Config::new().path(dir).cache_capacity(CACHE).flush_every_ms(None);
            match config.open() {
                Ok(db) => break (config, db),
                Err(error) if !is_locked(&error) => return Err(fault(&error)),
                Err(_) if began.elapsed() > CLOSING => return Err(EngineFault::Locked),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let marks = db.open_tree(MARKS).map_err(|error| fault(&error))?;
        Ok(Self { config, db, marks })
    }

    fn tree(&self, name: &str) -> Result<SledTree, EngineFault> {
        let entries = self.db.open_tree(name).map_err(|error| fault(&error))?;
        Ok(SledTree { name: name.to_owned(), entries, marks: self.marks.clone() })
    }

    fn destroy(&self, name: &str) -> Result<(), EngineFault> {
        let destroy = || {
            self.marks.remove(name)?;
            self.marks.flush()?;
            self.db.drop_tree(name)?;
            self.db.flush()
        };
        destroy().map(|_| ()).map_err(|error| fault(&error))
    }

    fn names(&self) -> Result<Vec<String>, EngineFault> {
        Ok(self.db.tree_names().iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }

    fn size_on_disk(&self) -> Result<u64, EngineFault> {
        self.db.size_on_disk().map_err(|error| fault(&error))
    }

    /// A thread of sled that fails to write a buffer notes the error, but notifies a flush that waits for the buffer only
    /// on one of two paths. Any further call does notify it, and fails without waiting, since the error is noted.
    fn waker(&self) -> Option<Waker> {
        let (config, marks) = (self.config.clone(), self.marks.clone());
        Some(Arc::new(move || {
            if config.global_error().is_err() {
                // The error is returned to the call that waits.
                drop(marks.flush());
            }
        }))
    }
}

pub(super) struct SledTree {
    name: String,
    entries: sled::Tree,
    marks: sled::Tree,
}

impl Tree for SledTree {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineFault> {
        let value = self.entries.get(key).map_err(|error| fault(&error))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), EngineFault> {
        for entry in self.entries.range::<&[u8], _>((from, to)) {
            let (key, value) = entry.map_err(|error| fault(&error))?;
            if !each(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn mark(&self) -> Result<Option<Vec<u8>>, EngineFault> {
        let mark = self.marks.get(&self.name).map_err(|error| fault(&error))?;
        Ok(mark.map(|mark| mark.to_vec()))
    }

    /// Writes the entries one by one, in order: sled's `Batch` does not keep the order, and it holds a lock across all
    /// trees that blocks every `get`.
    fn write(&self, entries: &[Write<'_>], mark: Option<&[u8]>) -> Result<(), EngineFault> {
        let write = || {
            for (key, value) in entries {
                match value {
                    Some(value) => self.entries.insert(key, *value)?,
                    None => self.entries.remove(key)?,
                };
            }
            // IMPORTANT: the mark must be written after the entries; see the module's documentation.
            if let Some(mark) = mark {
                self.marks.insert(&self.name, mark)?;
            }
            Ok(())
        };
        write().map_err(|error| fault(&error))
    }

    fn sync(&self) -> Result<(), EngineFault> {
        self.marks.flush().map(drop).map_err(|error| fault(&error))
    }
}

fn is_locked(error: &sled::Error) -> bool {
    // sled has no error kind for this. A test fails if the text changes.
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

fn fault(error: &sled::Error) -> EngineFault {
    match error {
        sled::Error::Io(error) => EngineFault::io(error),
        other => EngineFault::Broken(other.to_string()),
    }
}
