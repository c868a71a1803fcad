//! The adapter for Apache Kafka and the embedded broker, built on librdkafka. Only this module uses rdkafka.
//!
//! [`KafkaTransport`] opens the implementations of the port's traits: `group` is a member of a consumer group, `sink`
//! is a producer, `reader` and `tail` read outside any group, `reader` message by message and `tail` at full speed, and
//! `admin` manages topics and looks up metadata. librdkafka bugs, and calls whose order matters, are described at the
//! call.

mod blocking;
mod config;
mod connection;
mod errors;
mod native;
mod offsets;
mod admin_clients;
mod inspect;
mod admin;
mod queue;
mod reader;
mod rebalance;
mod group;
mod sink;
mod transaction;
mod tail;
mod cluster;
#[cfg(test)]
mod tests;

pub use self::cluster::KafkaTransport;
pub use config::{GroupProtocol, KafkaConfig, build_features};
