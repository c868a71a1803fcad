//! A directory for each worker of an app on this machine: `worker-1`, `worker-2` and so on.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::transport::TransportError;

const LOCK: &str = "worker.lock";

/// The directory of one worker, its own for as long as this value lives.
#[derive(Debug)]
pub struct WorkerDir {
    number: u32,
    path: PathBuf,
    _lock: File,
}

impl WorkerDir {
    /// Takes the lowest number that no running worker has.
    ///
    /// # Errors
    /// The data directory cannot be written.
    pub fn take(datadir: &Path) -> Result<Self, Error> {
        let failed = |path: &Path, error: std::io::Error| {
            TransportError::fatal(format!("use of the data directory `{}`", path.display()), error)
        };
        for number in 1.. {
            let path = datadir.join(format!("worker-{number}"));
            std::fs::create_dir_all(&path).map_err(|error| failed(&path, error))?;
            let open = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK));
            let lock = open.map_err(|error| failed(&path, error))?;
            match lock.try_lock() {
                Ok(()) => return Ok(Self { number, path, _lock: lock }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(failed(&path, error).into()),
            }
        }
        unreachable!("there are more numbers than workers")
    }

    /// Counted from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Where this worker keeps its stores.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// How many workers of this data directory run now, `own` not counted.
pub(super) fn others(datadir: &Path, own: Option<&WorkerDir>) -> usize {
    let numbers = (1..).map(|number| (number, datadir.join(format!("worker-{number}")).join(LOCK)));
    let locks = numbers.map_while(|(number, path)| File::open(path).ok().map(|lock| (number, lock)));
    let others = locks.filter(|(number, _)| own.is_none_or(|own| own.number != *number));
    others.filter(|(_, lock)| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))).count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn workers_take_the_lowest_free_number() {
        let datadir = tempfile::tempdir().unwrap();
        let take = || WorkerDir::take(datadir.path()).unwrap();
        let (first, second) = (take(), take());
        assert_eq!((first.number(), second.number()), (1, 2));
        assert_eq!((others(datadir.path(), Some(&first)), others(datadir.path(), None)), (1, 2));
        drop(first);
        assert_eq!(others(datadir.path(), Some(&second)), 0);
        let third = take();
        assert_eq!((third.number(), third.path()), (1, datadir.path().join("worker-1").as_path()));
    }
}
