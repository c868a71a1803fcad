//! The adapter to Apache Kafka, and to the embedded broker, through librdkafka: the only place that names rdkafka.
//!
//! [`KafkaTransport`] opens what the port asks for: `group` reads as a member of a consumer group, `sink` writes,
//! `reader` reads outside any group, `admin` declares topics and looks things up. The calls that librdkafka has
//! faults in, and the order in which the others must come, are noted where they are made.

mod admin;
mod config;
mod connection;
mod errors;
mod group;
mod native;
mod offsets;
mod queue;
mod reader;
mod rebalance;
mod sink;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use super::{
    Admin, Group, GroupListener, Reader, Sink, StartAt, Subscription, TopicPartition, Transport, TransportError,
};

pub use config::{GroupProtocol, KafkaConfig, OffsetReset};

/// A Kafka cluster reached through librdkafka.
pub struct KafkaTransport {
    config: Arc<KafkaConfig>,
}

impl KafkaTransport {
    /// Nothing is connected yet: that is for the parts opened from it.
    pub fn new(config: KafkaConfig) -> Self {
        Self { config: Arc::new(config) }
    }
}

impl fmt::Debug for KafkaTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaTransport").field("bootstrap", &self.config.bootstrap).finish()
    }
}

impl Transport for KafkaTransport {
    fn describe(&self) -> String {
        format!("kafka://{}", self.config.bootstrap)
    }

    fn sink(&self) -> Result<Arc<dyn Sink>, TransportError> {
        Ok(Arc::new(sink::KafkaSink::open(&self.config)?))
    }

    fn admin(&self) -> Result<Arc<dyn Admin>, TransportError> {
        Ok(Arc::new(admin::KafkaAdmin::open(&self.config)?))
    }

    fn join(
        &self,
        subscription: Subscription,
        listener: Arc<dyn GroupListener>,
    ) -> Result<Arc<dyn Group>, TransportError> {
        Ok(Arc::new(group::KafkaGroup::join(&self.config, subscription, listener)?))
    }

    fn read(&self, from: Vec<(TopicPartition, StartAt)>) -> Result<Box<dyn Reader>, TransportError> {
        Ok(Box::new(reader::KafkaReader::open(&self.config, from)?))
    }
}
