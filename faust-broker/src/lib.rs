//! A small single-node broker that speaks the Kafka protocol, for learning, tests and one-machine services.
//!
//! The broker has two layers. [`core`] is a state machine without sockets, threads or a clock. [`Server`] serves it on
//! a loopback port, where librdkafka, kcat, Java and Python clients can use it like Apache Kafka.
//!
//! Topics follow Kafka's retention rules: `cleanup.policy` may be `delete`, `compact` or both. Compaction reads
//! uncompressed batches only; batches compressed by a producer are kept unchanged and remain readable.
//!
//! Replication, transactions, the new consumer group protocol (KIP-848) and non-loopback addresses are not supported.

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod config;
pub mod core;
mod disk;
mod error;
mod listener;
mod server;

pub use config::{BrokerConfig, Port, Storage};
pub use error::Error;
pub use server::Server;
