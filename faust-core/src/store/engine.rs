//! What an embedded database must be able to do to hold stores; the rest of the port is `database`'s.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bytes::Bytes;

use super::port::Write;

/// A database with named trees. Dropping it and its trees closes it.
pub(super) trait Engine: Sized + Send + 'static {
    /// A tree and what it takes to write its mark.
    type Tree: Tree;

    /// How it is called in logs and errors.
    const NAME: &'static str;

    /// Opens or makes the database in this directory, and waits while this process itself is still closing it.
    fn open(dir: &Path) -> Result<Self, Fault>;

    /// The tree of this name, made when it is missing.
    fn tree(&self, name: &str) -> Result<Self::Tree, Fault>;

    /// Removes the mark, so that a crash leaves no mark without entries, and then the tree.
    fn destroy(&self, name: &str) -> Result<(), Fault>;

    /// The names of all trees.
    fn names(&self) -> Result<Vec<String>, Fault>;

    /// Bytes on disk.
    fn size_on_disk(&self) -> Result<u64, Fault>;
}

/// The promises are those of [`Store`](super::port::Store).
pub(super) trait Tree: Send + Sync + 'static {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Fault>;

    fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Fault>;

    fn mark(&self) -> Result<Option<Vec<u8>>, Fault>;

    fn write(&self, entries: &[Write<'_>], mark: Option<&[u8]>) -> Result<(), Fault>;
}

/// Why an engine failed, before anybody has said where.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// Another process has it.
    Locked,
    /// It is damaged.
    Broken(String),
    /// The disk refused.
    Io(String),
    /// It cannot take this.
    Unfit(String),
}

impl Fault {
    /// Tells a disk that refuses from files that are not what they should be.
    pub(super) fn io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            // Engines report what they cannot make sense of, or files that they miss, as errors of these kinds.
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

/// Runs engine code. sled panics on some damaged files, which is damage and not a fault of ours.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Fault::Broken(format!("it panicked: {text}")))
    })
}
