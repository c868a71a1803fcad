//! Locks on files, by which the processes of one machine exclude each other from a directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// An exclusive lock on a file. The operating system releases it when the value is dropped, and when the process ends,
/// even if it is killed.
#[derive(Debug)]
#[must_use = "the lock is released when the value is dropped"]
pub(crate) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Locks the file, creating it if it does not exist. Returns `None` if the lock is held already.
    ///
    /// # Errors
    /// Fails if the file cannot be created or locked.
    pub(crate) fn take(path: &Path) -> io::Result<Option<Self>> {
        Self::lock(OpenOptions::new().create(true).truncate(false).write(true).open(path)?)
    }

    /// Locks the file as [`take`](Self::take) does, but does not create it.
    ///
    /// # Errors
    /// Fails if the file does not exist, or if it cannot be locked.
    pub(crate) fn take_existing(path: &Path) -> io::Result<Option<Self>> {
        Self::lock(File::open(path)?)
    }

    fn lock(file: File) -> io::Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Returns `true` if the lock on the file is held.
#[cfg(any(test, feature = "embedded"))]
pub(crate) fn is_held(path: &Path) -> bool {
    // A shared lock, so that two processes that check at once do not take each other for the holder.
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn a_lock_excludes_others_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(FileLock::take_existing(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!is_held(&path) && !path.exists());
        let lock = FileLock::take(&path).unwrap().unwrap();
        assert!(is_held(&path));
        assert!(FileLock::take(&path).unwrap().is_none() && FileLock::take_existing(&path).unwrap().is_none());
        drop(lock);
        assert!(!is_held(&path));
        assert!(FileLock::take_existing(&path).unwrap().is_some());
    }
}
