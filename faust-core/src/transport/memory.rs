//! The transport of the test driver: the broker's core in this process, without a socket, thread or clock of its own.

mod member;
mod cluster;
mod queue;
mod group;
mod reader;
mod sink;
mod adapter;
pub use self::cluster::MemoryCluster;
