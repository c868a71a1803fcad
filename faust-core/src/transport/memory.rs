//! The transport of the test driver: the broker's core in this process, without socket, thread or clock of its own.

mod cluster;
mod group;
mod queue;
mod reader;
mod sink;
pub use self::cluster::MemoryCluster;
