//! The transport of the test driver: the broker's core in this process, without socket, thread or clock of its own.

mod group;
mod queue;
mod reader;
mod sink;
mod cluster;
pub use self::cluster::{MemoryCluster};
