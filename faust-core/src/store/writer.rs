//! The store writer: one thread that brings what is committed into the stores of a worker.
//!
//! It may lag behind the commits, so a slow disk costs neither latency nor the event loop: all that waits is merged and
//! written at once. What waits is bounded by bytes; who sends jobs asks for [`room`](StoreWriter::room) first.

mod job;
mod queue;
mod thread;
pub(super) mod handle;
pub(crate) use self::handle::{StoreWriter, Wish};
pub(crate) use self::job::Job;
