//! The traits of the port to state stores, with their errors and names.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

/// The stores of one worker: one database, with one tree for each table and partition. Every call may block.
pub(crate) trait StoreSet: Send + Sync {
    /// Returns the store of this name, which is created if it is missing. A store without a mark is returned empty: it
    /// may contain entries of an interrupted restore, which the next restore would not correct.
    fn open(&self, name: &StoreName) -> Result<Arc<dyn Store>, StoreError>;

    /// Removes the store with all its contents. Remaining handles to it return errors of kind [`StoreErrorKind::Gone`].
    fn destroy(&self, name: &StoreName) -> Result<(), StoreError>;

    /// Returns the names of all stores, open or not, in order.
    #[cfg(test)]
    fn names(&self) -> Result<Vec<StoreName>, StoreError>;

    /// Returns the total size of all stores in bytes.
    fn size_on_disk(&self) -> Result<u64, StoreError>;

    /// Returns the engine and the directory, as `sled at DIR`.
    fn describe(&self) -> String;

    /// Returns the number of databases that were found broken and set aside when this one was opened.
    fn set_aside(&self) -> u64;

    /// Returns whether calls that may block are made on the caller's thread, and pending writes only by
    /// [`StoreWriter::step`](super::StoreWriter::step). The test driver does so: with threads, the order of the effects would
    /// depend on the system's clock.
    fn is_stepped(&self) -> bool {
        false
    }
}

/// The keys and values of one table on one partition.
pub(crate) trait Store: Send + Sync {
    /// Returns the value of a key. Cheap enough for the event loop.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Visits the entries in the order of the key's bytes until `each` returns `false`. `each` must not call the store.
    fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError>;

    /// Returns the mark that was written last.
    fn mark(&self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Writes the entries and then the mark, if one is given. The keys must be in ascending order; an entry without a
    /// value removes its key.
    ///
    /// After a crash at any moment, the mark is never ahead of the entries. After an error, any of the entries may have been
    /// written: write all of them again.
    fn write(&self, entries: &[Write<'_>], mark: Option<&[u8]>) -> Result<(), StoreError>;

    /// Makes everything written before survive the end of the process, in all stores of the set: one call is enough for
    /// several stores. After an error, all that was written since the last call must be written again.
    fn sync(&self) -> Result<(), StoreError>;
}

/// A key and its new value, or `None` to remove the key.
pub(crate) type Write<'a> = (&'a [u8], Option<&'a [u8]>);

/// The name of a store: a table's name and a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StoreName {
    pub(crate) table: String,
    pub(crate) partition: i32,
}

impl StoreName {
    pub(crate) fn new(table: impl Into<String>, partition: i32) -> Self {
        Self { table: table.into(), partition }
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.table, self.partition)
    }
}

/// A failed operation of a store, with its place, the reason and the fix.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub(crate) struct StoreError {
    kind: StoreErrorKind,
    what: String,
    why: String,
}

/// The kind of a store error, by the action that the caller can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "only a database can be locked or broken, and a build may have none")]
pub(crate) enum StoreErrorKind {
    /// Another process uses the database.
    Locked,
    /// The database is damaged. It is set aside when it is opened the next time.
    Broken,
    /// An I/O error: the disk is full or missing, or access is denied. A retry may succeed.
    Io,
    /// The engine can never accept this: a key is too long, or a kind is not compiled in.
    Unfit,
    /// The store was destroyed, or the writer was shut down before it reached this job.
    Gone,
}

impl StoreError {
    pub(super) fn new(kind: StoreErrorKind, what: String, why: String) -> Self {
        Self { kind, what, why }
    }

    /// Returns the kind of the error.
    pub(crate) fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}
