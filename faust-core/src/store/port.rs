//! The traits of the port to state stores, its errors and names.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

/// The stores of one worker: one database, one tree for each table and partition. Every call may block.
pub(crate) trait StoreSet: Send + Sync {
    /// The store of this name, made when it is missing. A store without a mark is empty: what a restore that was
    /// broken off has left in it would not be mended by the next one.
    fn open(&self, name: &StoreName) -> Result<Arc<dyn Store>, StoreError>;

    /// Removes the store with all that is in it. Whoever still holds it gets errors of kind [`StoreErrorKind::Gone`].
    fn destroy(&self, name: &StoreName) -> Result<(), StoreError>;

    /// Every store there is, open or not, in order.
    #[cfg(test)]
    fn names(&self) -> Result<Vec<StoreName>, StoreError>;

    /// Bytes of all stores together.
    fn size_on_disk(&self) -> Result<u64, StoreError>;

    /// The engine and the directory, as `sled at DIR`.
    fn describe(&self) -> String;

    /// How many databases were found broken and set aside when this one was opened.
    fn set_aside(&self) -> u64;
}

/// One table's keys and values on one partition.
pub(crate) trait Store: Send + Sync {
    /// The value of a key. Cheap enough for the event loop.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Visits the entries in the order of the key's bytes until `each` returns false. `each` must not call the store.
    fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError>;

    /// The mark as it was last written.
    fn mark(&self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Writes the entries and then the mark, if one is given. The keys must ascend; no value means that the key goes.
    ///
    /// After `Ok` with a mark, all of it survives the end of the process. Whatever the moment of a crash, the mark
    /// found afterwards is never ahead of the entries. After an error any of them may be there: write all again.
    fn write(&self, entries: &[Write<'_>], mark: Option<&[u8]>) -> Result<(), StoreError>;
}

/// A key and its new value, or none to remove it.
pub(crate) type Write<'a> = (&'a [u8], Option<&'a [u8]>);

/// Which store: a table's name and a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StoreName {
    pub(crate) table: String,
    pub(crate) partition: i32,
}

impl StoreName {
    pub(crate) fn new(table: impl Into<String>, partition: i32) -> Self {
        Self { table: table.into(), partition }
    }

    /// Reads what `Display` has written; the engines name their trees so.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (table, partition) = text.rsplit_once('/')?;
        Some(Self::new(table, partition.parse().ok()?))
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.table, self.partition)
    }
}

/// What a store could not do: where, why, and what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub(crate) struct StoreError {
    kind: StoreErrorKind,
    what: String,
    why: String,
}

/// Store errors by what the caller can do about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreErrorKind {
    /// Another process uses the database.
    Locked,
    /// The database is damaged. The next time it is opened it is set aside.
    Broken,
    /// The disk refused: full, gone, or not permitted. Trying again may work.
    Io,
    /// The engine cannot take this, whatever is done: a key too long, a kind not compiled in.
    Unfit,
    /// The store was destroyed, or the writer was ended before it came to this.
    Gone,
}

impl StoreError {
    pub(super) fn new(kind: StoreErrorKind, what: String, why: String) -> Self {
        Self { kind, what, why }
    }

    /// What the caller can do about it.
    pub(crate) fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}
