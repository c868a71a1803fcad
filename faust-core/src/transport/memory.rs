//! The transport of the test driver: the broker's core in this process, without a socket, thread or clock of its own.

mod faults;
mod observer;
mod member;
mod cluster;
mod queue;
mod reader;
mod producer;
mod sink;
mod transaction;
mod group;
mod adapter;
pub use self::cluster::{GroupTimeouts, MemoryCluster};
pub use self::faults::{ClusterFault, FaultProfile};
pub(crate) use self::observer::{ClusterObserver, StoredMessage};
