//! A Kafka cluster as the port sees it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::admin::KafkaAdmin;
use super::blocking::beside;
use super::config::KafkaConfig;
use crate::error::TransportError;
use crate::transport::kafka::tail;
use crate::transport::outage::Outage;
use crate::transport::port::{
    Admin, Group, GroupListener, PartitionQueue, Reader, Sink, StartAt, Subscription, TailPace, TopicPartition,
    Transactions, Transport,
};
use crate::transport::transaction::TransactionError;

/// A Kafka cluster reached through librdkafka.
pub struct KafkaTransport {
    config: Arc<KafkaConfig>,
    admin: Arc<KafkaAdmin>,
    /// Shared with the clients that are always served, so that their errors are recorded.
    outage: Arc<Outage>,
}

impl KafkaTransport {
    /// Creates a transport. It does not connect: each client opened from it does.
    pub fn new(config: KafkaConfig) -> Self {
        let (outage, config) = (Arc::new(Outage::new(&*config.bootstrap)), Arc::new(config));
        Self { admin: Arc::new(KafkaAdmin::new(Arc::clone(&config), Arc::clone(&outage))), config, outage }
    }
}

impl fmt::Debug for KafkaTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaTransport").field("bootstrap", &self.config.bootstrap).finish()
    }
}

impl crate::transport::port::Sealed for KafkaTransport {}

impl Transport for KafkaTransport {
    fn describe(&self) -> String {
        format!("kafka://{}", self.config.bootstrap)
    }

    fn outage(&self) -> Arc<Outage> {
        Arc::clone(&self.outage)
    }

    fn sink(&self) -> Result<Arc<dyn Sink>, TransportError> {
        Ok(Arc::new(super::sink::KafkaSink::open(&self.config, &self.outage)?))
    }

    fn transactions(&self, id: &str) -> BoxFuture<'_, Result<Arc<dyn Transactions>, TransactionError>> {
        let id = id.to_owned();
        async move {
            let opened = super::transaction::KafkaTransactions::open(&self.config, &self.outage, &id).await?;
            Ok(opened as Arc<dyn Transactions>)
        }
        .boxed()
    }

    fn admin(&self) -> Result<Arc<dyn Admin>, TransportError> {
        Ok(Arc::<KafkaAdmin>::clone(&self.admin))
    }

    fn join(
        &self,
        subscription: Subscription,
        listener: Arc<dyn GroupListener>,
    ) -> Result<Arc<dyn Group>, TransportError> {
        Ok(Arc::new(super::group::KafkaGroup::join(&self.config, &self.outage, subscription, listener)?))
    }

    fn read(&self, from: Vec<(TopicPartition, StartAt)>, wait: Duration) -> Result<Box<dyn Reader>, TransportError> {
        Ok(Box::new(super::reader::KafkaReader::open(&self.config, from, wait)?))
    }

    fn tail(
        &self,
        from: Vec<(TopicPartition, StartAt)>,
        pace: TailPace,
    ) -> BoxFuture<'_, Result<Vec<Box<dyn PartitionQueue>>, TransportError>> {
        let config = Arc::clone(&self.config);
        beside("opening a tail", move || tail::open(&config, from, pace)).boxed()
    }
}
