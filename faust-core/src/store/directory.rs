//! The directory of a database: its path, its lock, the note that it is broken, and moving it aside.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::engine::Fault;
use crate::config::StoreKind;

/// Where a database lives. Only the engine writes below `data`; the rest is ours.
///
/// It is this process's own for as long as the value lives.
pub(super) struct Place {
    dir: PathBuf,
    _lock: File,
}

impl Place {
    /// Makes the directory when it is missing, and locks it.
    pub(super) fn take(dir: &Path) -> Result<Self, Fault> {
        let refused = |error: io::Error| Fault::Io(error.to_string());
        std::fs::create_dir_all(dir).map_err(refused)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"));
        let lock = lock.map_err(refused)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Fault::Locked),
            Err(TryLockError::Error(error)) => Err(refused(error)),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the engine keeps its files.
    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Leaves a note for whoever opens the database next: some damage shows only when a page is read.
    pub(super) fn note_broken(&self, why: &str) {
        if let Err(error) = std::fs::write(self.note(), why) {
            tracing::error!(dir = %self.dir.display(), "the broken store cannot even be noted as such: {error}");
        }
    }

    /// What such a note says, if there is one.
    pub(super) fn broken(&self) -> Option<String> {
        let bytes = std::fs::read(self.note()).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Renames the directory to the first free `<dir>.broken-<n>` and says which it was.
    pub(super) fn set_aside(self) -> Result<PathBuf, Fault> {
        let free = (1..).map(|n: u32| {
            let mut name = self.dir.clone().into_os_string();
            name.push(format!(".broken-{n}"));
            PathBuf::from(name)
        });
        let to = free.into_iter().find(|path| !path.exists()).ok_or_else(|| Fault::Io("no name is free".to_owned()))?;
        std::fs::rename(&self.dir, &to).map_err(|error| Fault::Io(error.to_string()))?;
        Ok(to)
    }

    /// Whether the disk takes a few bytes again: opening a database on a full one only makes things worse.
    pub(super) fn probe(&self) -> Result<(), Fault> {
        let path = self.dir.join("probe");
        let written = std::fs::write(&path, vec![0xA5; 1 << 20]);
        let removed = std::fs::remove_file(&path);
        written.and(removed).map_err(|error| Fault::Io(error.to_string()))
    }

    fn note(&self) -> PathBuf {
        self.dir.join("broken")
    }
}

/// Where the database of a kind lies in a worker's directory. Each version of an app has its own: it begins with empty
/// tables, and the one before it may still run.
pub(crate) fn directory(worker: &Path, version: u32, kind: StoreKind) -> PathBuf {
    worker.join(state_name(version)).join(match kind {
        StoreKind::Memory => "memory",
        StoreKind::Sled => "sled",
        StoreKind::Fjall => "fjall",
    })
}

/// The directory of all that a worker keeps for one version of its app: `state`, `state-v2` and so on.
pub(crate) fn state_name(version: u32) -> String {
    match version {
        1 => "state".to_owned(),
        version => format!("state-v{version}"),
    }
}
