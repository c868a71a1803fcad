//! The port to state stores: bytes in, bytes out, and a mark. Adapters: `sled`, and `fjall` behind a feature.
//!
//! A store is a cache of its changelog. It holds the keys and values of one table on one partition, and a *mark* that
//! says how far in the changelog it is. Losing a store costs time, never data; what must not happen is a mark ahead of
//! the entries, since a restore goes on from the mark and would never learn of those that are missing.

pub(super) mod mark;
mod port;
mod engine;
mod directory;
mod database;
#[cfg(feature = "fjall")]
mod fjall;
mod sealed;
mod merge;
mod sled;
pub(super) mod writer;
#[cfg(test)]
mod tests;

pub(crate) use self::directory::{directory, state_name};
pub(crate) use self::port::{Store, StoreError, StoreErrorKind, StoreName, StoreSet};
pub(crate) use sealed::{Sealed, SealedBuilder};
pub(crate) use writer::{Job, PriorityGuard, StoreWriter};

use std::path::Path;
use std::sync::Arc;

use crate::config::StoreKind;

/// Opens the stores in a directory, which is made when it is missing. `None`: this kind keeps nothing on disk.
///
/// A database that does not open is renamed to `DIR.broken-N`, with a line in the log, and a fresh one takes its place.
///
/// # Errors
/// The directory cannot be used, another process uses it, or the kind is not compiled in.
pub(crate) fn open(kind: StoreKind, dir: &Path) -> Result<Option<Arc<dyn StoreSet>>, StoreError> {
    match kind {
        StoreKind::Memory => Ok(None),
        StoreKind::Sled => Ok(Some(database::open::<sled::Sled>(dir)?)),
        #[cfg(feature = "fjall")]
        StoreKind::Fjall => Ok(Some(database::open::<fjall::Fjall>(dir)?)),
        #[cfg(not(feature = "fjall"))]
        StoreKind::Fjall => Err(StoreError::new(
            StoreErrorKind::Unfit,
            "the store `fjall://` is not compiled in".to_owned(),
            "build with the feature `fjall`, or set `store` to `sled://`".to_owned(),
        )),
    }
}
