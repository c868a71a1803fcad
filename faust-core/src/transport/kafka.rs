//! The adapter to Apache Kafka, and to the embedded broker, through librdkafka: the only place that names rdkafka.
//!
//! [`KafkaTransport`] opens what the port asks for: `group` reads as a member of a consumer group, `sink` writes,
//! `reader` and `tail` read outside any group, one message by message,
//! the other as fast as it goes; `admin` declares topics and looks things up. The calls that librdkafka has faults in,
//! and the order in which the others must come, are noted where they are made.

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
mod tail;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::port::{Admin, Group, GroupListener, PartitionQueue, Reader, Sink, StartAt, Subscription, TopicPartition, Transport};
use crate::error::TransportError;

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

    fn tail(
        &self,
        from: Vec<(TopicPartition, StartAt)>,
    ) -> BoxFuture<'_, Result<Vec<Box<dyn PartitionQueue>>, TransportError>> {
        let config = self.config.clone();
        beside("opening of a tail", move || tail::open(&config, from)).boxed()
    }
}

/// Makes a blocking call beside the runtime.
async fn beside<T: Send + 'static>(
    what: &str,
    call: impl FnOnce() -> Result<T, TransportError> + Send + 'static,
) -> Result<T, TransportError> {
    tokio::task::spawn_blocking(call).await.unwrap_or_else(|error| Err(TransportError::fatal(what, error)))
}
