//! Syncs files in the background, so that the broker does not wait for the disk when it rolls a segment.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::core::advice::advice;

/// Number of threads that sync what is left when the broker is stopped. The system combines concurrent syncs.
const LAST_THREADS: usize = 8;

/// A thread that syncs files, one after the other. It is started with the first one.
#[derive(Debug, Default)]
pub(crate) struct Syncer {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The files to sync. Each is in it once, however often it has been added.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    has_failed: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    paths: BTreeSet<PathBuf>,
    is_last: bool,
}

impl Syncer {
    /// Syncs a file or a directory in the background.
    pub(crate) fn later(&self, path: &Path) {
        self.queue.lock().paths.insert(path.to_owned());
        self.queue.changed.notify_one();
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let queue = Arc::clone(&self.queue);
            let spawned = std::thread::Builder::new().name("faust-broker-sync".into()).spawn(move || queue.work());
            // Without a thread, the files are synced when the broker is stopped.
            *thread = spawned.ok();
        }
    }

    /// Waits until all files are synced. Returns false if one of them could not be, now or before.
    pub(crate) fn finish(&self) -> bool {
        self.queue.lock().is_last = true;
        self.queue.changed.notify_all();
        let count = self.queue.lock().paths.len().min(LAST_THREADS);
        std::thread::scope(|scope| {
            (1..count).for_each(|_| drop(scope.spawn(|| self.queue.work())));
            self.queue.work();
        });
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let has_ended = thread.is_none_or(|thread| thread.join().is_ok());
        self.queue.lock().is_last = false;
        has_ended && !self.queue.has_failed.load(Ordering::Relaxed)
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Syncs files until the queue is empty and no more will come.
    fn work(&self) {
        while let Some(path) = self.next() {
            if let Err(error) = sync(&path) {
                self.has_failed.store(true, Ordering::Relaxed);
                let advice = advice(&error);
                tracing::error!(?path, %error, advice, "cannot sync a file; its records may not survive a power failure");
            }
        }
    }

    fn next(&self) -> Option<PathBuf> {
        let mut waiting = self.lock();
        loop {
            if let Some(path) = waiting.paths.pop_first() {
                return Some(path);
            }
            if waiting.is_last {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Syncs a file, or the entries of a directory. One that does not exist any more needs no sync.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    let opened = if path.is_dir() {
        // Some systems cannot open directories.
        Ok(File::open(path).ok())
    } else {
        // Windows can sync only a file that is open for writing.
        File::options().read(true).write(true).open(path).map(Some)
    };
    match opened {
        Ok(Some(file)) => file.sync_all(),
        Ok(None) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Syncs the directory of a file, so that its name survives a power failure.
pub(crate) fn sync_name(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_synced_is_noted() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "text").unwrap();
        let syncer = Syncer::default();
        assert!(syncer.finish(), "there is nothing to sync");
        for path in [directory.path(), &file, &directory.path().join("gone")] {
            syncer.later(path);
        }
        assert!(syncer.finish());
        // A component of the path is a file.
        syncer.later(&file.join("below"));
        assert!(!syncer.finish(), "the failure is remembered");
        assert!(!syncer.finish());
    }
}
