//! The store writer: one thread that writes committed changes to the stores of a worker.
//!
//! It may lag behind the commits, so a slow disk neither adds latency nor blocks the event loop: all pending jobs of a
//! store are merged and written at once. The pending bytes are limited: callers wait for [`room`](StoreWriter::room)
//! before they submit jobs.

mod job;
mod queue;
mod thread;
pub(super) mod handle;
pub(crate) use self::handle::{PriorityGuard, StoreWriter};
pub(crate) use self::job::Job;
