//! A Kafka broker of one node, for tests, learning and services on one machine.
//!
//! [`Broker::start`] starts a broker in memory on a free port, for a test; [`Broker::start_with`] takes a
//! [`BrokerConfig`]. librdkafka, kcat, Java and Python clients use it like Apache Kafka.
//!
//! ```
//! use faust_broker::Broker;
//!
//! let broker = Broker::start()?;
//! broker.create_topic("orders", 3)?;
//! println!("bootstrap.servers={}", broker.bootstrap());
//! // The broker stops here.
//! # Ok::<(), faust_broker::Error>(())
//! ```
//!
//! The broker has two layers. [`core`] is a state machine without sockets, threads or a clock, for simulations; its
//! interface may change in any release. [`Broker`] serves it on a socket. It needs the feature `server`, which is on by
//! default; the core alone needs neither tokio nor the protocol's message types.
//!
//! Topics follow Kafka's retention rules: `cleanup.policy` may be `delete`, `compact` or both. Batches may be
//! compressed with gzip, Snappy, LZ4 or zstd, by producers or by a topic's `compression.type`; LZ4 has one level, so
//! that `compression.lz4.level` has no effect. The codecs need the feature `compression`, which `server` enables. A batch may decompress to 16 MiB, a larger one to 128 times its size,
//! and none to more than 128 MiB.
//!
//! Transactions work as in Kafka, in both versions (KIP-98 and KIP-890), and so do consumer groups of both protocols: the
//! classic one and the one in which the broker assigns the partitions (KIP-848), with the assignors `uniform` and `range`,
//! static members and subscriptions by regular expressions. The members of one group have one protocol: a group changes
//! it while it has no members, which is `group.consumer.migration.policy=disabled` in Kafka. Replication, authentication
//! and share groups are not supported.

#[cfg(feature = "server")]
#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
#[cfg(feature = "server")]
mod buffers;
#[cfg(feature = "server")]
mod config;
#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only the server restores a broker from disk"))]
pub mod core;
#[cfg(feature = "server")]
mod descriptors;
#[cfg(feature = "server")]
mod disk;
#[cfg(feature = "server")]
mod error;
#[cfg(feature = "server")]
mod listener;
#[cfg(feature = "server")]
mod server;

#[cfg(feature = "server")]
pub use config::{BrokerConfig, Port, Storage};
#[cfg(feature = "server")]
pub use error::Error;
#[cfg(feature = "server")]
pub use server::Broker;

// Compiles and runs the code of the README.
#[cfg(all(doctest, feature = "server"))]
#[doc = include_str!("../README.md")]
mod readme {}
