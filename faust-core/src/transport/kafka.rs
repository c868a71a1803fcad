//! The adapter to Apache Kafka, and to the embedded broker, through librdkafka: the only place that names rdkafka.
//!
//! [`KafkaTransport`] opens what the port asks for: `group` reads as a member of a consumer group, `sink` writes,
//! `reader` and `tail` read outside any group, one message by message,
//! the other as fast as it goes; `admin` declares topics and looks things up. The calls that librdkafka has faults in,
//! and the order in which the others must come, are noted where they are made.

mod blocking;
mod config;
mod connection;
mod errors;
mod native;
mod offsets;
mod admin;
mod queue;
mod reader;
mod rebalance;
mod group;
mod sink;
mod tail;
mod cluster;
#[cfg(test)]
mod tests;

pub use self::cluster::KafkaTransport;
pub use config::{GroupProtocol, KafkaConfig, OffsetReset};
