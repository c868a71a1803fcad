//! The paths of the stores in a worker's directory.

use std::path::{Path, PathBuf};

use crate::config::StoreKind;

/// Returns the directory of a kind's database in a worker's directory. Each version of an app has its own: it starts
/// with empty tables, and the previous version may still be running.
pub(crate) fn directory(worker: &Path, version: u32, kind: StoreKind) -> PathBuf {
    worker.join(state_name(version)).join(kind.scheme())
}

/// Returns the name of the directory for the state of one version of an app: `state`, `state-v2` and so on.
pub(crate) fn state_name(version: u32) -> String {
    match version {
        1 => "state".to_owned(),
        version => format!("state-v{version}"),
    }
}
