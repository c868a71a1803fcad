//! Leftovers of an app's workers: local table state, and the names of groups and topics by version of the app.

use std::io;
use std::path::{Path, PathBuf};

use super::worker_dir::WorkerDir;
use crate::error::Error;
use crate::store::lock::FileLock;
use crate::store::state_name;

/// The table state of one worker on this machine, for one version of the app. It is a cache of the changelogs: it can
/// be removed safely, and the next worker restores it from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalState {
    version: u32,
    path: PathBuf,
    bytes: u64,
}

impl LocalState {
    /// Finds the state in the data directory, ordered by worker and version.
    ///
    /// # Errors
    /// Fails if a directory cannot be read.
    pub fn find(datadir: &Path) -> Result<Vec<Self>, Error> {
        let mut found = Vec::new();
        for worker in WorkerDir::existing(datadir).map_err(|error| failed(datadir, error))?.into_values() {
            found.extend(Self::of_worker(&worker).map_err(|error| failed(&worker, error))?);
        }
        Ok(found)
    }

    fn of_worker(worker: &Path) -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(worker)? {
            let entry = entry?;
            let (name, path) = (entry.file_name(), entry.path());
            if let Some(version) = name.to_str().and_then(version_of_state).filter(|_| path.is_dir()) {
                found.push(Self { version, bytes: size(&path)?, path });
            }
        }
        found.sort_by(|one, other| (one.version, &one.path).cmp(&(other.version, &other.path)));
        Ok(found)
    }

    /// Returns the version of the app that wrote the state.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Returns the directory of the state.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the total size of the files in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.bytes
    }

    /// Removes the state.
    ///
    /// # Errors
    /// Fails if a running worker uses the state, or if the files cannot be removed.
    pub fn remove(&self) -> Result<(), Error> {
        let failed = |error| failed(&self.path, error);
        // A worker that starts at this moment finds its store locked and stops with an error.
        let locks = self.lock().map_err(failed)?;
        let Some(_locks) = locks else {
            return Err(Error::LocalState(format!("a worker is using `{}`: stop it first", self.path.display())));
        };
        // A partially removed directory must not be mistaken for a store.
        let mut doomed = self.path.clone();
        if doomed.extension().is_none_or(|extension| extension != REMOVED) {
            doomed.as_mut_os_string().push(format!(".{REMOVED}"));
            match std::fs::remove_dir_all(&doomed) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => std::fs::rename(&self.path, &doomed).map_err(failed)?,
            }
        }
        std::fs::remove_dir_all(&doomed).map_err(failed)
    }

    /// Locks all databases of the state. Returns `None` if a worker holds one of the locks.
    fn lock(&self) -> io::Result<Option<Vec<FileLock>>> {
        let mut locks = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            match FileLock::take_existing(&entry?.path().join("lock")) {
                Ok(Some(lock)) => locks.push(lock),
                Ok(None) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(locks))
    }
}

/// Returns the version of the app with this id that uses the group, or `None` if the group belongs to another app.
pub fn version_of_group(id: &str, group: &str) -> Option<u32> {
    let rest = group.strip_prefix(id)?;
    if rest.is_empty() { Some(1) } else { number(rest.strip_prefix("-v")?) }
}

/// Returns the version of the app with this id that owns a changelog, repartition or control topic, or `None` for any other
/// topic. The names are `<id>-..` for version 1 and `<id>-v2-..` and so on for later ones. A topic that appears to
/// belong to version 1 may belong to another app whose id starts with this one.
pub fn version_of_topic(id: &str, topic: &str) -> Option<u32> {
    let rest = topic.strip_prefix(id)?.strip_prefix('-')?;
    let split = rest.split_once('-').and_then(|(first, own)| Some((number(first.strip_prefix('v')?)?, own)));
    let (version, own) = split.unwrap_or((1, rest));
    (own == CONTROL || OWN_ENDS.iter().any(|end| rest.ends_with(end))).then_some(version)
}

/// Suffixes of the topics that an app creates for itself.
const OWN_ENDS: [&str; 2] = ["-changelog", "-repartition"];
/// The rest of the control topic's name.
const CONTROL: &str = "control";
/// Extension of a directory that is being removed.
const REMOVED: &str = "removed";

fn version_of_state(name: &str) -> Option<u32> {
    let name = name.strip_suffix(REMOVED).and_then(|name| name.strip_suffix('.')).unwrap_or(name);
    let version = name.strip_prefix("state-v").map_or(Some(1), number)?;
    (name == state_name(version)).then_some(version)
}

/// Parses a version in a name, which is at least 2 and has no leading zeros.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|version: &u32| *version >= 2 && version.to_string() == text)
}

fn size(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        // A running worker of another version may remove files concurrently.
        let counted = match entry.file_type() {
            Ok(kind) if kind.is_dir() => size(&entry.path()),
            Ok(_) => entry.metadata().map(|file| file.len()),
            Err(error) => Err(error),
        };
        match counted {
            Ok(size) => bytes += size,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::io(path, error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn versions_are_parsed_from_names() {
        let groups = [
            ("shop", Some(1)),
            ("shop-v2", Some(2)),
            ("shop-v1", None),
            ("shop-v02", None),
            ("shops", None),
            ("shop-vault", None),
        ];
        for (group, version) in groups {
            assert_eq!(version_of_group("shop", group), version, "{group}");
        }
        let topics = [
            ("shop-totals-changelog", Some(1)),
            ("shop-v2-totals-changelog", Some(2)),
            ("shop-v12-count-uri-repartition", Some(12)),
            ("shop-vault-changelog", Some(1)),
            ("shop-control", Some(1)),
            ("shop-v2-control", Some(2)),
            ("shop-access-control", None),
            ("shop-v2-dead-letter", None),
            ("shop-orders", None),
            ("shops-totals-changelog", None),
        ];
        for (topic, version) in topics {
            assert_eq!(version_of_topic("shop", topic), version, "{topic}");
        }
        let states = [("state", Some(1)), ("state-v2", Some(2)), ("state-v2.removed", Some(2)), ("state-v1", None)];
        for (state, version) in states.into_iter().chain([("estate", None), ("state-vx", None)]) {
            assert_eq!(version_of_state(state), version, "{state}");
        }
    }

    #[cfg(feature = "sled")]
    #[test]
    fn state_is_found_by_version_and_removed_unless_in_use() {
        use crate::config::StoreKind;
        use crate::store;

        let datadir = tempfile::tempdir().unwrap();
        let worker = WorkerDir::take(datadir.path()).unwrap();
        assert_eq!(LocalState::find(datadir.path()).unwrap(), []);
        let open = |version| store::open(StoreKind::Sled, &store::directory(worker.path(), version, StoreKind::Sled));
        drop(open(1).unwrap());
        let used = open(2).unwrap();
        let found = LocalState::find(datadir.path()).unwrap();
        assert_eq!(found.iter().map(LocalState::version).collect::<Vec<_>>(), [1, 2]);
        assert!(found.iter().all(|state| state.size_bytes() > 0), "{found:?}");
        let error = found[1].remove().unwrap_err().to_string();
        assert!(error.contains("state-v2") && error.contains("stop it first"), "{error}");
        drop(used);
        for state in found {
            state.remove().unwrap();
        }
        // State that an earlier removal left incomplete is removed too.
        std::fs::create_dir_all(worker.path().join("state.removed").join("sled")).unwrap();
        let left = LocalState::find(datadir.path()).unwrap();
        assert_eq!((left.len(), left[0].version()), (1, 1));
        left[0].remove().unwrap();
        assert_eq!(LocalState::find(datadir.path()).unwrap(), []);
    }
}
