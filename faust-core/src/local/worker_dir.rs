//! Directories of an app's workers on this machine: `worker-1`, `worker-2` and so on.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use crate::error::{Error, TransportError};
use crate::store::lock::FileLock;

const NAME: &str = "worker-";
const LOCK: &str = "worker.lock";
/// Name of the file with the name of the worker.
const NAME_FILE: &str = "name";

/// The directory of one worker, locked while this value is alive.
#[derive(Debug)]
#[must_use = "the directory is unlocked when the value is dropped"]
pub struct WorkerDir {
    number: u32,
    path: PathBuf,
    _lock: FileLock,
}

impl WorkerDir {
    /// Takes the directory with the lowest number that no running worker uses.
    ///
    /// # Errors
    /// Fails if the data directory cannot be written.
    pub fn take(datadir: &Path) -> Result<Self, Error> {
        for number in 1.. {
            let path = datadir.join(format!("{NAME}{number}"));
            std::fs::create_dir_all(&path).map_err(|error| failed(&path, error))?;
            if let Some(lock) = FileLock::take(&path.join(LOCK)).map_err(|error| failed(&path, error))? {
                return Ok(Self { number, path, _lock: lock });
            }
        }
        unreachable!("there are more numbers than workers")
    }

    /// Takes all existing directories, so that no other process uses them meanwhile.
    ///
    /// # Errors
    /// Fails if a worker of this app is running on this machine, or if the data directory cannot be used.
    pub fn take_all(datadir: &Path) -> Result<Vec<Self>, Error> {
        let failed = |path: &Path, error: std::io::Error| failed(path, error).into();
        let found = Self::existing(datadir).map_err(|error| failed(datadir, error))?;
        let take = |(number, path): (u32, PathBuf)| match FileLock::take(&path.join(LOCK)) {
            Ok(Some(lock)) => Ok(Self { number, path, _lock: lock }),
            Ok(None) => Err(Error::LocalState(format!("a worker is running in `{}`: stop it first", path.display()))),
            Err(error) => Err(failed(&path, error)),
        };
        found.into_iter().map(take).collect()
    }

    /// Returns the existing worker directories by number, whether in use or not.
    pub(crate) fn existing(datadir: &Path) -> std::io::Result<BTreeMap<u32, PathBuf>> {
        let entries = match std::fs::read_dir(datadir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            entries => entries?,
        };
        let mut found = BTreeMap::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(NAME)?.parse().ok());
            if let Some(number) = number.filter(|_| entry.path().is_dir()) {
                found.insert(number, entry.path());
            }
        }
        Ok(found)
    }

    /// Returns the number of the directory, counted from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Returns the name of the worker that uses this directory, which is chosen at random when it is first asked for.
    ///
    /// # Errors
    /// Fails if the directory cannot be read or written.
    pub(crate) fn worker_name(&self) -> Result<String, Error> {
        let file = self.path.join(NAME_FILE);
        match std::fs::read_to_string(&file) {
            Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(&file, error).into()),
            Ok(_) | Err(_) => {}
        }
        let name = format!("w-{:08x}", RandomState::new().hash_one(()) as u32);
        std::fs::write(&file, &name).map_err(|error| failed(&file, error))?;
        Ok(name)
    }

    /// Returns the path of the directory, in which the worker keeps its stores.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn failed(path: &Path, error: std::io::Error) -> TransportError {
    TransportError::fatal(format!("use of the data directory `{}`", path.display()), error)
}

/// Returns the number of running workers in this data directory, not counting `own`.
#[cfg(any(test, feature = "embedded"))]
pub(super) fn others(datadir: &Path, own: Option<&WorkerDir>) -> usize {
    let locks = (1..).map(|number| (number, datadir.join(format!("{NAME}{number}")).join(LOCK)));
    let locks = locks.take_while(|(_, path)| path.exists());
    let others = locks.filter(|(number, _)| own.is_none_or(|own| own.number != *number));
    others.filter(|(_, path)| crate::store::lock::is_held(path)).count()
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

    #[test]
    fn a_worker_keeps_its_name() {
        let datadir = tempfile::tempdir().unwrap();
        let take = || WorkerDir::take(datadir.path()).unwrap();
        let (first, second) = (take(), take());
        let names = [first.worker_name().unwrap(), second.worker_name().unwrap()];
        assert!(names[0] != names[1] && names[0].starts_with("w-") && names[0].len() == 10, "{names:?}");
        drop(first);
        assert_eq!(take().worker_name().unwrap(), names[0]);
    }

    #[test]
    fn take_all_fails_if_a_directory_is_in_use() {
        let datadir = tempfile::tempdir().unwrap();
        assert!(WorkerDir::take_all(&datadir.path().join("none")).unwrap().is_empty());
        let (first, second) = (WorkerDir::take(datadir.path()).unwrap(), WorkerDir::take(datadir.path()).unwrap());
        drop(first);
        std::fs::create_dir(datadir.path().join("broker")).unwrap();
        let error = WorkerDir::take_all(datadir.path()).unwrap_err().to_string();
        assert!(error.contains("worker-2") && error.contains("stop it first"), "{error}");
        drop(second);
        let all = WorkerDir::take_all(datadir.path()).unwrap();
        assert_eq!(all.iter().map(WorkerDir::number).collect::<Vec<_>>(), [1, 2]);
    }
}
