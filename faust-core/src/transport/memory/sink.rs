//! The producer of the in-memory cluster, as the port sees it.

use std::sync::Arc;
use std::time::Duration;

use faust_broker::core::Record;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::cluster::MemoryCluster;
use super::producer::MemoryProducer;
use crate::error::TransportError;
use crate::partitioner::partition_of;
use crate::transport::delivery::Delivery;
use crate::transport::port::{Outgoing, SendRefused, Sink, SinkTopic, TopicPartition};

/// Pause between two looks at the messages that a flush waits for.
const FLUSH_LOOK: Duration = Duration::from_millis(10);

pub(super) struct MemorySink {
    producer: Arc<MemoryProducer>,
}

impl MemorySink {
    pub(super) fn new(cluster: MemoryCluster, is_faulty: bool) -> Self {
        Self::of(MemoryProducer::new(cluster, is_faulty))
    }

    pub(super) fn of(producer: Arc<MemoryProducer>) -> Self {
        Self { producer }
    }
}

impl crate::transport::port::Sealed for MemorySink {}

impl Sink for MemorySink {
    fn topic(&self, name: &str) -> Result<Arc<dyn SinkTopic>, TransportError> {
        Ok(Arc::new(MemoryTopic { producer: Arc::clone(&self.producer), name: name.into() }))
    }

    fn room(&self) -> BoxFuture<'_, ()> {
        self.producer.room().boxed()
    }

    fn flush(&self, within: Duration) -> BoxFuture<'_, Result<(), TransportError>> {
        async move {
            let sent = async {
                while self.producer.pending() > 0 {
                    tokio::time::sleep(FLUSH_LOOK).await;
                }
            };
            let sent = tokio::time::timeout(within, sent).await;
            sent.map_err(|_| TransportError::retriable("flush", format!("messages remain after {within:?}")))
        }
        .boxed()
    }

    fn lost(&self) -> BoxFuture<'_, TransportError> {
        self.producer.lost().boxed()
    }
}

struct MemoryTopic {
    producer: Arc<MemoryProducer>,
    name: Arc<str>,
}

impl crate::transport::port::Sealed for MemoryTopic {}

impl SinkTopic for MemoryTopic {
    fn try_send(&self, message: &Outgoing<'_>, delivery: &Arc<Delivery>) -> Result<(), SendRefused> {
        message.check_timestamp(&self.name).map_err(SendRefused::Failed)?;
        if self.producer.is_full() {
            return Err(SendRefused::Full);
        }
        let partition = self.partition(message).map_err(SendRefused::Failed)?;
        let owned = |bytes: Option<&[u8]>| bytes.map(bytes::Bytes::copy_from_slice);
        let record = Record {
            offset: 0,
            timestamp: message.timestamp.unwrap_or_else(|| self.producer.cluster().time()).0,
            key: owned(message.key),
            value: owned(message.payload),
            headers: message.all_headers().map(|(name, value)| (name.to_owned(), owned(value))).collect(),
        };
        let to = TopicPartition::new(Arc::clone(&self.name), partition);
        self.producer.send(to, record, delivery).map_err(SendRefused::Failed)
    }

    fn check(&self, message: &Outgoing<'_>) -> Result<(), TransportError> {
        message.check_timestamp(&self.name)?;
        // The topic must exist.
        let state = self.producer.cluster().state();
        state.broker.topic(&self.name).map(drop).ok_or_else(|| missing(&self.name))
    }
}

fn missing(topic: &str) -> TransportError {
    TransportError::fatal(format!("send to topic `{topic}`"), "the topic does not exist")
}

impl MemoryTopic {
    fn partition(&self, message: &Outgoing<'_>) -> Result<i32, TransportError> {
        let mut state = self.producer.cluster().state();
        let count = state.broker.topic(&self.name).map(faust_broker::core::Topic::partitions);
        let count = count.ok_or_else(|| missing(&self.name))?;
        Ok(match (message.partition, message.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of(key, count),
            (None, None) => {
                state.turn = (state.turn + 1) % count;
                state.turn
            }
        })
    }
}
