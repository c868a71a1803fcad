//! A small single-node broker that speaks the Kafka protocol, for learning, tests and one-machine services.
//!
//! It has two layers. [`core`] is the broker as a state machine, without socket, thread or clock. [`Server`] puts it on
//! a loopback port, where librdkafka, kcat, Java and Python clients take it for a Kafka.
//!
//! Topics are kept as Kafka keeps them: `cleanup.policy` may be `delete`, `compact` or both. Compaction looks into
//! uncompressed batches only; what a producer has compressed stays, and is read as before.
//!
//! What it does not do: replication, transactions, the newer group protocol, a network.

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
