//! Syncs files in the background, so that the broker does not wait for the disk when it rolls a segment.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fmt, io};

use crate::core::advice::{advice, is_out_of_files};
use crate::disk::files::Files;

/// Number of threads that sync what is left when the broker is stopped. The system combines concurrent syncs.
const LAST_THREADS: usize = 8;

/// Time after which a file is opened again that could not be opened because of too many open files.
const RETRY: Duration = Duration::from_millis(100);

/// A thread that syncs files, one after the other. It is started with the first one.
#[derive(Debug)]
pub(crate) struct Syncer {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The files to sync. Each is in it once, however often it has been added.
#[derive(Debug)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    has_failed: AtomicBool,
    /// The open segments, of which some are closed if there are too many open files.
    files: Arc<Files>,
    open: Open,
}

/// Opens a file or a directory. `None` if it does not exist any more, or if this system cannot open directories.
type Open = fn(&Path) -> io::Result<Option<File>>;

#[derive(Debug, Default)]
struct Waiting {
    paths: BTreeSet<PathBuf>,
    /// Those that are being synced.
    in_progress: BTreeSet<PathBuf>,
    /// Those that could not be synced.
    failed: BTreeSet<PathBuf>,
    /// What to do when all of them are synced.
    then: Option<Completion>,
    is_last: bool,
}

/// An operation on files that must come after a sync of others.
struct Completion(Box<dyn FnOnce() -> io::Result<()> + Send>);

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completion")
    }
}

/// The next task of a thread.
#[derive(Debug)]
enum Task {
    Sync(PathBuf),
    Complete(Completion),
}

impl Syncer {
    /// Creates a syncer that closes some of these open segments if it cannot open a file otherwise.
    pub(crate) fn new(files: Arc<Files>) -> Self {
        Self::opening(files, open)
    }

    fn opening(files: Arc<Files>, open: Open) -> Self {
        let (waiting, changed, has_failed) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        Self { queue: Arc::new(Queue { waiting, changed, has_failed, files, open }), thread: Mutex::default() }
    }

    /// Syncs a file or a directory in the background.
    pub(crate) fn later(&self, path: &Path) {
        self.queue.lock().paths.insert(path.to_owned());
        self.wake();
    }

    /// Calls `complete` when everything so far is synced. Another call before that replaces the first one, and it is not called
    /// if a file could not be synced, or the broker stops before.
    pub(crate) fn then(&self, complete: impl FnOnce() -> io::Result<()> + Send + 'static) {
        self.queue.lock().then = Some(Completion(Box::new(complete)));
        self.wake();
    }

    /// Returns true if no sync of this path is still to be done.
    ///
    /// # Errors
    /// Returns an error, once, if it has failed: the system reports that only to the first one who asks.
    pub(crate) fn is_done(&self, path: &Path) -> io::Result<bool> {
        let has_thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let mut waiting = self.queue.lock();
        if waiting.failed.remove(path) {
            return Err(io::Error::other("the file could not be synced; an earlier message has the cause"));
        }
        // Without a thread, the caller has to sync it.
        Ok(!has_thread || !(waiting.paths.contains(path) || waiting.in_progress.contains(path)))
    }

    fn wake(&self) {
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
        {
            let mut waiting = self.queue.lock();
            waiting.is_last = true;
            waiting.then = None;
        }
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
        while let Some(task) = self.next() {
            match task {
                Task::Sync(path) => self.sync(path),
                Task::Complete(_) if self.has_failed.load(Ordering::Relaxed) => {}
                Task::Complete(completion) => {
                    if let Err(error) = completion.0() {
                        let advice = advice(&error);
                        tracing::warn!(%error, advice, "cannot record what is synced; a start after a crash takes longer");
                    }
                }
            }
        }
    }

    fn sync(&self, path: PathBuf) {
        let opened = self.files.make_room(|| (self.open)(&path));
        if opened.as_ref().is_err_and(is_out_of_files) && self.postpone(&path) {
            return;
        }
        // IMPORTANT: a failed sync is not repeated. The system may have dropped what it could not write, so that another sync
        // would succeed without it.
        let synced = opened.and_then(|file| file.map_or(Ok(()), |file| file.sync_all()));
        let mut waiting = self.lock();
        waiting.in_progress.remove(&path);
        if let Err(error) = synced {
            self.has_failed.store(true, Ordering::Relaxed);
            let advice = advice(&error);
            tracing::error!(?path, %error, advice, "cannot sync a file; its records may not survive a power failure");
            waiting.failed.insert(path);
        }
    }

    /// Puts a file back, and waits for a moment. Returns false if the broker is being stopped: there is no later.
    fn postpone(&self, path: &Path) -> bool {
        let mut waiting = self.lock();
        if waiting.is_last {
            return false;
        }
        waiting.in_progress.remove(path);
        waiting.paths.insert(path.to_owned());
        drop(self.changed.wait_timeout(waiting, RETRY).unwrap_or_else(PoisonError::into_inner));
        true
    }

    fn next(&self) -> Option<Task> {
        let mut waiting = self.lock();
        loop {
            if let Some(path) = waiting.paths.pop_first() {
                waiting.in_progress.insert(path.clone());
                return Some(Task::Sync(path));
            }
            // There is one thread, unless the broker is stopping, so no sync is in progress.
            if let Some(completion) = waiting.then.take() {
                return Some(Task::Complete(completion));
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
    open(path)?.map_or(Ok(()), |file| file.sync_all())
}

/// Opens a file or a directory to sync it. See [`Open`].
fn open(path: &Path) -> io::Result<Option<File>> {
    let is_dir = path.is_dir();
    // Windows can sync only a file that is open for writing.
    match File::options().read(true).write(!is_dir).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // Some systems cannot open directories.
        Err(error) if is_dir && !is_out_of_files(&error) => Ok(None),
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
    use std::num::NonZeroUsize;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn files() -> Arc<Files> {
        Arc::new(Files::new(NonZeroUsize::new(4).unwrap()))
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_cannot_be_opened_among_too_many_is_opened_again() {
        static ATTEMPTS: AtomicUsize = AtomicUsize::new(0);
        let open: Open = |path| match ATTEMPTS.fetch_add(1, Ordering::Relaxed) {
            0..2 => Err(io::Error::from_raw_os_error(24)),
            _ => open(path),
        };
        let directory = tempfile::tempdir().unwrap();
        let syncer = Syncer::opening(files(), open);
        syncer.later(directory.path());
        while ATTEMPTS.load(Ordering::Relaxed) < 3 {
            std::thread::yield_now();
        }
        assert!(syncer.finish());
    }

    #[cfg(unix)]
    #[test]
    fn at_the_end_a_file_that_cannot_be_opened_is_a_failure() {
        let directory = tempfile::tempdir().unwrap();
        let syncer = Syncer::opening(files(), |_| Err(io::Error::from_raw_os_error(23)));
        syncer.later(directory.path());
        assert!(!syncer.finish());
    }

    #[cfg(unix)]
    #[test]
    fn open_segments_make_room_for_a_file_to_sync() {
        static OPEN: Mutex<Option<std::sync::Weak<File>>> = Mutex::new(None);
        let directory = tempfile::tempdir().unwrap();
        let (files, path) = (files(), directory.path().join("segment"));
        std::fs::write(&path, "text").unwrap();
        let segment = files.get(files.next_id(), &path).unwrap();
        *OPEN.lock().unwrap() = Some(Arc::downgrade(&segment));
        drop(segment);
        let syncer = Syncer::opening(files, |path| match OPEN.lock().unwrap().as_ref().unwrap().strong_count() {
            0 => open(path),
            _ => Err(io::Error::from_raw_os_error(24)),
        });
        // Without the thread, which would only try again.
        syncer.queue.lock().paths.insert(path);
        assert!(syncer.finish());
    }

    #[test]
    fn what_follows_a_sync_is_done_after_all_syncs_and_not_after_a_failed_one() {
        let directory = tempfile::tempdir().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let syncer = Syncer::new(files());
        syncer.later(directory.path());
        let (queue, first) = (Arc::clone(&syncer.queue), sender.clone());
        syncer.then(move || first.send(queue.lock().paths.len()).map_err(io::Error::other));
        assert_eq!(receiver.recv(), Ok(0));
        let file = directory.path().join("file");
        std::fs::write(&file, "text").unwrap();
        syncer.later(&file.join("below"));
        syncer.then(move || sender.send(1).map_err(io::Error::other));
        assert!(!syncer.finish());
        assert!(receiver.recv().is_err(), "dropped without a call");
    }

    #[test]
    fn a_file_that_cannot_be_synced_is_noted() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "text").unwrap();
        let syncer = Syncer::new(files());
        assert!(syncer.finish(), "there is nothing to sync");
        for path in [directory.path(), &file, &directory.path().join("gone")] {
            syncer.later(path);
        }
        assert!(syncer.finish());
        // A component of the path is a file.
        let below = file.join("below");
        syncer.later(&below);
        let failed = loop {
            match syncer.is_done(&below) {
                Ok(false) => std::thread::yield_now(),
                done => break done,
            }
        };
        assert!(failed.is_err() && syncer.is_done(&below).unwrap(), "reported once");
        assert!(!syncer.finish(), "the failure is remembered");
        assert!(!syncer.finish());
    }
}
