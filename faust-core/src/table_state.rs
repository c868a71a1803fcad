//! The state of a table in one partition: an overlay in memory over a store on disk.

mod budget;
mod held;
pub(super) mod prefetch;
mod slab;
pub(super) mod spec;
pub(super) mod roles;
mod undo;
mod overlay;
mod closing;
mod partition;
mod change;
mod expiry;
pub(super) mod factory;
mod restore;
mod scan;

pub(crate) use self::budget::CacheBudget;
pub(crate) use self::factory::{SharedSpec, TableFactory};
pub(crate) use self::partition::{PartitionCx, RECORD_HEADERS, TablePartition};
pub(crate) use self::prefetch::{Prefetchable, Prefetcher};
pub(crate) use self::roles::{AnyTablePartition, ClosedWindow, ExpireWindows, Expired, PriorValue};
pub(crate) use self::scan::KeyBounds;
pub use self::spec::TableValue;
pub(crate) use self::spec::{TableInfo, TableSpec};
