//! The directory of a database: its lock, its marker for a broken database, and setting it aside.

use std::io;
use std::path::{Path, PathBuf};

use super::engine::EngineFault;
use super::lock::FileLock;

/// The locked directory of a database. The engine writes only below `data`; this module manages the other files.
///
/// The process has exclusive use of the directory while the value is alive.
#[must_use = "the directory is unlocked when the value is dropped"]
pub(super) struct DatabaseDir {
    dir: PathBuf,
    _lock: FileLock,
}

impl DatabaseDir {
    /// Creates the directory if it is missing, and locks it.
    pub(super) fn take(dir: &Path) -> Result<Self, EngineFault> {
        let refused = |error: io::Error| EngineFault::Io(error.to_string());
        std::fs::create_dir_all(dir).map_err(refused)?;
        let lock = FileLock::take(&dir.join("lock")).map_err(refused)?;
        let lock = lock.ok_or(EngineFault::Locked)?;
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the directory of the engine's files.
    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Marks the database as broken for the next time it is opened, because some damage is detected only when a page is
    /// read.
    pub(super) fn note_broken(&self, why: &str) {
        if let Err(error) = std::fs::write(self.note(), why) {
            tracing::error!(dir = %self.dir.display(), "cannot mark the store as broken: {error}");
        }
    }

    /// Returns the reason if the database is marked as broken.
    pub(super) fn broken(&self) -> Option<String> {
        let bytes = std::fs::read(self.note()).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Renames the directory to the first free `<dir>.broken-<n>` and returns the new path.
    pub(super) fn set_aside(self) -> Result<PathBuf, EngineFault> {
        let free = (1..).map(|n: u32| {
            let mut name = self.dir.clone().into_os_string();
            name.push(format!(".broken-{n}"));
            PathBuf::from(name)
        });
        let to =
            free.into_iter().find(|path| !path.exists()).ok_or_else(|| EngineFault::Io("no free name".to_owned()))?;
        std::fs::rename(&self.dir, &to).map_err(|error| EngineFault::Io(error.to_string()))?;
        Ok(to)
    }

    /// Checks that the disk accepts writes again, because opening a database on a full disk can make matters worse.
    pub(super) fn probe(&self) -> Result<(), EngineFault> {
        let path = self.dir.join("probe");
        let written = std::fs::write(&path, vec![0xA5; 1 << 20]);
        let removed = std::fs::remove_file(&path);
        written.and(removed).map_err(|error| EngineFault::Io(error.to_string()))
    }

    fn note(&self) -> PathBuf {
        self.dir.join("broken")
    }
}
