//! The open files of the segments: a bounded number, of which the one that was used least recently is closed first.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::core::advice::is_out_of_files;

/// Identifies a file, also if it is renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileId(u64);

/// A cache of open files.
#[derive(Debug)]
pub(crate) struct Files {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    open: LruCache<FileId, Arc<File>>,
    next_id: u64,
}

impl Files {
    /// Creates a cache of at most `bound` open files.
    pub(crate) fn new(bound: NonZeroUsize) -> Self {
        Self { inner: Mutex::new(Inner { open: LruCache::new(bound), next_id: 0 }) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the id of another file.
    pub(crate) fn next_id(&self) -> FileId {
        let mut inner = self.lock();
        inner.next_id += 1;
        FileId(inner.next_id)
    }

    /// Returns the open file, or opens it.
    pub(crate) fn get(&self, id: FileId, path: &Path) -> io::Result<Arc<File>> {
        if let Some(file) = self.lock().open.get(&id) {
            return Ok(Arc::clone(file));
        }
        self.open(id, || File::options().read(true).write(true).open(path))
    }

    /// Opens a file with `open`. If the process has too many open files, others are closed.
    pub(crate) fn open(&self, id: FileId, open: impl Fn() -> io::Result<File>) -> io::Result<Arc<File>> {
        let file = Arc::new(self.make_room(open)?);
        self.lock().open.put(id, Arc::clone(&file));
        Ok(file)
    }

    /// Opens something with `open`. If the process has too many open files, those of segments are closed.
    pub(crate) fn make_room<T>(&self, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
        let mut opened = open();
        while opened.as_ref().is_err_and(is_out_of_files) && self.close_half() {
            opened = open();
        }
        opened
    }

    /// Closes a file if it is open.
    pub(crate) fn close(&self, id: FileId) {
        drop(self.lock().open.pop(&id));
    }

    /// Closes half of the open files, those used least recently. Returns false if no file is open.
    pub(crate) fn close_half(&self) -> bool {
        let mut inner = self.lock();
        let count = inner.open.len().div_ceil(2);
        (0..count).for_each(|_| drop(inner.open.pop_lru()));
        count > 0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_files_used_least_recently_are_closed() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::new(NonZeroUsize::new(2).unwrap());
        let paths: Vec<_> = (0..3).map(|number| directory.path().join(number.to_string())).collect();
        let ids: Vec<_> = paths.iter().map(|_| files.next_id()).collect();
        paths.iter().for_each(|path| std::fs::write(path, "text").unwrap());
        let first = files.get(ids[0], &paths[0]).unwrap();
        files.get(ids[1], &paths[1]).unwrap();
        assert!(Arc::ptr_eq(&first, &files.get(ids[0], &paths[0]).unwrap()), "it is still open");
        files.get(ids[2], &paths[2]).unwrap();
        std::fs::remove_file(&paths[1]).unwrap();
        assert!(files.get(ids[1], &paths[1]).is_err(), "it was closed");
        assert!(files.close_half() && files.close_half() && !files.close_half());
    }

    #[test]
    fn files_are_closed_if_the_process_has_too_many() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::new(NonZeroUsize::new(9).unwrap());
        let path = directory.path().join("file");
        std::fs::write(&path, "text").unwrap();
        let others: Vec<_> = (0..4).map(|_| Arc::downgrade(&files.get(files.next_id(), &path).unwrap())).collect();
        let open = || match others.iter().filter(|other| other.strong_count() > 0).count() {
            0 => File::open(&path),
            _ => Err(io::Error::from_raw_os_error(24)),
        };
        if cfg!(unix) {
            files.open(files.next_id(), open).unwrap();
        }
    }
}
