//! The state of a table in one partition: an overlay in memory over a store on disk.

mod budget;
pub(super) mod spec;
pub(super) mod prefetch;
mod held;
mod undo;
mod slab;
mod overlay;
pub(super) mod roles;
mod partition;
mod expiry;
mod restore;
mod scan;
mod factory;

pub(crate) use self::budget::CacheBudget;
pub(crate) use self::factory::{SharedSpec, TableFactory};
pub(crate) use self::partition::{PartitionCx, TablePartition};
pub(crate) use self::prefetch::{Prefetch, Prefetcher};
pub(crate) use self::roles::{AnyTablePartition, Closed, ExpireWindows};
pub(crate) use self::scan::KeyBounds;
pub use self::spec::TableValue;
pub(crate) use self::spec::{TableInfo, TableSpec};
