//! The files through which a host publishes the address of its broker to its app: `address.json` and `host.lock`.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::host_kind::HostKind;
use crate::store::lock::{self, FileLock};

const ADDRESS: &str = "address.json";
const LOCK: &str = "host.lock";

/// The address of the broker, and the process that hosts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Address {
    /// Address as `host:port`.
    pub(super) address: String,
    /// Kind of the host.
    pub(super) kind: HostKind,
    /// Process id of the host, shown in messages.
    pub(super) pid: u32,
    /// True once the host has begun to shut down.
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

    /// Reads the file. Returns `None` if there is none, or if its format is unknown to this version.
    pub(super) fn read(dir: &Path) -> Option<Self> {
        let text = std::fs::read(dir.join(ADDRESS)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Replaces the file atomically: a reader sees either the old or the new one.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let new = dir.join(format!("{ADDRESS}.{}", self.pid));
        std::fs::write(&new, serde_json::to_vec(self)?)?;
        std::fs::rename(new, dir.join(ADDRESS))
    }

    /// Removes the file, ignoring errors such as a missing file.
    pub(super) fn remove(dir: &Path) {
        drop(std::fs::remove_file(dir.join(ADDRESS)));
    }

    /// Returns the reason for a guest of this broker to shut down, if there is one. A killed host and a stopped command
    /// `broker` are no reason, because both may restart.
    pub(super) fn departure(&self, dir: &Path) -> Option<String> {
        let Self { address, kind, pid, .. } = self;
        match Self::read(dir) {
            Some(now) if now.address != *address => Some(format!(
                "the embedded broker has moved from {address} to {}: restart this worker to connect to it",
                now.address
            )),
            Some(now) if !now.ending => None,
            None if *kind == HostKind::Broker => None,
            _ => Some(format!("the worker that hosts the embedded broker (process {pid}, {address}) is shutting down")),
        }
    }
}

/// Makes this process the host of the directory for as long as the lock is held. Returns `None` if another process is
/// the host.
pub(super) fn take_lock(dir: &Path) -> io::Result<Option<FileLock>> {
    FileLock::take(&dir.join(LOCK))
}

/// Returns `true` if a process is the host of this directory.
pub(super) fn is_locked(dir: &Path) -> bool {
    lock::is_held(&dir.join(LOCK))
}
