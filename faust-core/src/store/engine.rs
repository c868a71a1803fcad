//! The interface of embedded databases to the stores. `database` implements the port on top of it.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bytes::Bytes;

use super::port::Write;
use super::watch::Waker;
use crate::error::panic_text;

/// A database with named trees. Dropping it and its trees closes it.
pub(super) trait Engine: Sized + Send + 'static {
    /// A tree, with access to its mark.
    type Tree: Tree;

    /// Name of the engine in logs and errors.
    const NAME: &'static str;

    /// Opens or creates the database in this directory. Waits while this process itself is still closing it.
    fn open(dir: &Path) -> Result<Self, EngineFault>;

    /// Opens the tree of this name, and creates it if it is missing.
    fn tree(&self, name: &str) -> Result<Self::Tree, EngineFault>;

    /// Removes the mark and then the tree, in this order so that a crash leaves no mark without entries.
    fn destroy(&self, name: &str) -> Result<(), EngineFault>;

    /// Returns the names of all trees that have a mark; other trees may be among them.
    fn names(&self) -> Result<Vec<String>, EngineFault>;

    /// Returns the size of the database on disk, in bytes.
    fn size_on_disk(&self) -> Result<u64, EngineFault>;

    /// Returns a function that ends calls which wait although the engine has failed, if it has such calls.
    fn waker(&self) -> Option<Waker> {
        None
    }
}

/// The promises are those of [`Store`](super::port::Store).
pub(super) trait Tree: Send + Sync + 'static {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, EngineFault>;

    fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), EngineFault>;

    fn mark(&self) -> Result<Option<Vec<u8>>, EngineFault>;

    fn write(&self, entries: &[Write<'_>], mark: Option<&[u8]>) -> Result<(), EngineFault>;

    /// Syncs the whole database.
    fn sync(&self) -> Result<(), EngineFault>;
}

/// An engine's error, without the location that a [`StoreError`](super::StoreError) adds.
#[derive(Clone, Debug)]
pub(super) enum EngineFault {
    /// Another process uses the database.
    Locked,
    /// The database is damaged.
    Broken(String),
    /// An I/O operation failed.
    Io(String),
    /// The engine does not support the name or the key.
    #[cfg_attr(not(feature = "fjall"), allow(dead_code, reason = "sled has no such limits"))]
    Unfit(String),
}

impl EngineFault {
    /// Classifies an I/O error as either a failed operation or damaged files.
    pub(super) fn io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            // Engines report invalid data and missing files as errors of these kinds.
            ErrorKind::InvalidData
            | ErrorKind::InvalidInput
            | ErrorKind::UnexpectedEof
            | ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory => Self::Broken(error.to_string()),
            _ => Self::Io(error.to_string()),
        }
    }
}

/// Runs engine code and converts a panic to [`EngineFault::Broken`], because sled panics on some damaged files.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, EngineFault>) -> Result<T, EngineFault> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(EngineFault::Broken(format!("the engine panicked: {}", panic_text(&*panic)))))
}
