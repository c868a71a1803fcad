//! The files by which a host tells the processes of its app where its broker is: `address.json` and `host.lock`.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::{fmt, io};

use serde::{Deserialize, Serialize};

const ADDRESS: &str = "address.json";
const LOCK: &str = "host.lock";

/// What kind of process hosts an embedded broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostKind {
    /// A worker: when it drains, its broker and the other workers end.
    Worker,
    /// The command `broker`, which outlives the workers; they wait for it to come back.
    Broker,
}

impl fmt::Display for HostKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Worker => "worker",
            Self::Broker => "broker",
        })
    }
}

/// Where the broker is, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Address {
    /// `host:port`.
    pub(super) address: String,
    /// What hosts it.
    pub(super) kind: HostKind,
    /// The process, for people to find.
    pub(super) pid: u32,
    /// Set when the host has begun to end.
    #[serde(default)]
    ending: bool,
}

impl Address {
    pub(super) fn new(address: String, kind: HostKind) -> Self {
        Self { address, kind, pid: std::process::id(), ending: false }
    }

    pub(super) fn ending(self) -> Self {
        Self { ending: true, ..self }
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending
    }

    pub(super) fn port(&self) -> Option<u16> {
        self.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
    }

    /// What the file says; nothing if there is none, or none that this version understands.
    pub(super) fn read(dir: &Path) -> Option<Self> {
        let text = std::fs::read(dir.join(ADDRESS)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Replaces the file in one step: a reader sees the old or the new one.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let new = dir.join(format!("{ADDRESS}.{}", self.pid));
        std::fs::write(&new, serde_json::to_vec(self)?)?;
        std::fs::rename(new, dir.join(ADDRESS))
    }

    /// Takes the file away; that it was not there is what was wanted.
    pub(super) fn remove(dir: &Path) {
        _ = std::fs::remove_file(dir.join(ADDRESS));
    }

    /// Why a guest of this broker should end, if it should. A host that was killed has not departed, nor has the
    /// command `broker`: both may come back.
    pub(super) fn departure(&self, dir: &Path) -> Option<String> {
        let Self { address, kind, pid, .. } = self;
        match Self::read(dir) {
            Some(now) if now.address != *address => Some(format!(
                "the embedded broker has moved from {address} to {}: start this worker again to follow it",
                now.address
            )),
            Some(now) if !now.ending => None,
            None if *kind == HostKind::Broker => None,
            _ => Some(format!("the worker that hosts the embedded broker (process {pid}, {address}) is ending")),
        }
    }
}

/// Becomes the host of this directory, for as long as the file is kept; nothing if another process is.
pub(super) fn take_lock(dir: &Path) -> io::Result<Option<File>> {
    let file = open_lock(dir)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether some process is the host of this directory.
pub(super) fn is_locked(dir: &Path) -> bool {
    // Shared, so that two who look do not take each other for a host.
    open_lock(dir).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn open_lock(dir: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).read(true).open(dir.join(LOCK))
}
