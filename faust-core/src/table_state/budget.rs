//! The memory budget of clean entries, shared by all tables of a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The memory limit for the entries of all tables of a worker. Clean entries are evicted while it is exceeded.
#[derive(Debug)]
pub(crate) struct CacheBudget {
    limit: u64,
    /// Minimum change that is added to `used`, to which all partitions write.
    pub(super) grain: u64,
    pub(super) used: AtomicU64,
}

impl CacheBudget {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, grain: GRAIN.min(limit / 64), used: AtomicU64::new(0) })
    }

    /// Returns the number of bytes used by all tables.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn is_over(&self) -> bool {
        self.used() > self.limit
    }
}

/// Maximum memory that a partition of a table uses without adding it to the budget.
const GRAIN: u64 = 16 << 10;
