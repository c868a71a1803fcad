//! The state of a table in one partition: an overlay in memory over a store on disk.

mod budget;
mod expiry;
pub(super) mod factory;
mod held;
mod overlay;
mod partition;
pub(super) mod prefetch;
mod restore;
pub(super) mod roles;
mod scan;
mod slab;
pub(super) mod spec;
mod undo;

pub(crate) use self::budget::CacheBudget;
pub(crate) use self::factory::{SharedSpec, TableFactory};
pub(crate) use self::partition::{PartitionCx, TablePartition};
pub(crate) use self::prefetch::{Prefetch, Prefetcher};
pub(crate) use self::roles::{AnyTablePartition, Closed, ExpireWindows};
pub(crate) use self::scan::KeyBounds;
pub use self::spec::TableValue;
pub(crate) use self::spec::{TableInfo, TableSpec};
