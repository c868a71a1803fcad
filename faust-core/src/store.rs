//! The port to state stores: bytes in, bytes out, and a mark. Adapters: `sled` and `fjall`, each a feature.
//!
//! A store is a cache of its changelog. It holds the keys and values of one table on one partition, and a *mark*, a
//! checkpoint that records the store's position in the changelog. A lost store is rebuilt from the changelog, which
//! takes time but loses no data. A mark must never be ahead of the entries, because a restore continues from the mark
//! and would never read the missing ones.

pub(super) mod mark;
mod port;
pub(super) mod lock;
mod directory;
#[cfg(any(feature = "sled", feature = "fjall"))]
mod watch;
#[cfg(any(feature = "sled", feature = "fjall"))]
mod engine;
#[cfg(any(feature = "sled", feature = "fjall"))]
mod database_dir;
#[cfg(any(feature = "sled", feature = "fjall"))]
mod database;
#[cfg(feature = "fjall")]
mod fjall;
mod sealed;
mod merge;
#[cfg(feature = "sled")]
mod sled;
pub(super) mod writer;
#[cfg(test)]
mod tests;

pub(crate) use self::directory::{directory, state_name};
pub(crate) use self::port::{Store, StoreError, StoreErrorKind, StoreName, StoreSet};
#[cfg(test)]
pub(crate) use self::tests::{FakeStore, stored};
pub(crate) use sealed::{Sealed, SealedBuilder, StoredEntry};
pub(crate) use writer::{Job, PriorityGuard, StoreWriter};

use std::path::Path;
use std::sync::Arc;

use crate::config::StoreKind;

/// Opens the stores in a directory, which is created if it is missing. Returns `None` if this kind of store keeps
/// nothing on disk.
///
/// A broken database is renamed to `DIR.broken-N`, which is logged, and replaced by an empty one.
///
/// # Errors
/// Returns an error if the directory cannot be used, is locked by another process, or the kind is not compiled in.
pub(crate) fn open(kind: StoreKind, dir: &Path) -> Result<Option<Arc<dyn StoreSet>>, StoreError> {
    match kind {
        StoreKind::Memory => Ok(None),
        #[cfg(feature = "sled")]
        StoreKind::Sled => Ok(Some(database::open::<sled::Sled>(dir)?)),
        #[cfg(feature = "fjall")]
        StoreKind::Fjall => Ok(Some(database::open::<fjall::Fjall>(dir)?)),
        #[cfg(not(all(feature = "sled", feature = "fjall")))]
        kind => Err(StoreError::new(
            StoreErrorKind::Unfit,
            format!("the store `{kind}` at {}", dir.display()),
            "not compiled in: build with its feature, or set `store` to another one".to_owned(),
        )),
    }
}
