//! The memory budget of clean entries, shared by all tables of a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The memory that clean entries of all tables of a worker may take together.
#[derive(Debug)]
pub(crate) struct CacheBudget {
    limit: u64,
    /// Changes smaller than this need not be told: all partitions write to `used`.
    pub(super) grain: u64,
    pub(super) used: AtomicU64,
}

impl CacheBudget {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, grain: GRAIN.min(limit / 64), used: AtomicU64::new(0) })
    }

    /// Bytes held by all tables.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn is_over(&self) -> bool {
        self.used() > self.limit
    }
}

/// The most that one partition of a table may use without telling.
const GRAIN: u64 = 16 << 10;
