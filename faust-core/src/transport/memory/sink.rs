//! The producer of the in-memory cluster. A message is in the log when the call returns.

use std::sync::Arc;
use std::time::Duration;

use faust_broker::core::{Batch, Producer, Record, records};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::cluster::{MemoryCluster, refused};
use crate::error::TransportError;
use crate::message::Offset;
use crate::partitioner::partition_of;
use crate::transport::delivery::Delivery;
use crate::transport::port::{Outgoing, SendRefused, Sink, SinkTopic};

pub(super) struct MemorySink {
    cluster: MemoryCluster,
}

impl MemorySink {
    pub(super) fn new(cluster: MemoryCluster) -> Self {
        Self { cluster }
    }
}

impl crate::transport::port::Sealed for MemorySink {}

impl Sink for MemorySink {
    fn topic(&self, name: &str) -> Result<Arc<dyn SinkTopic>, TransportError> {
        Ok(Arc::new(MemoryTopic { cluster: self.cluster.clone(), name: name.to_owned() }))
    }

    fn room(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    fn flush(&self, _: Duration) -> BoxFuture<'_, Result<(), TransportError>> {
        ready(Ok(())).boxed()
    }
}

struct MemoryTopic {
    cluster: MemoryCluster,
    name: String,
}

impl crate::transport::port::Sealed for MemoryTopic {}

impl SinkTopic for MemoryTopic {
    fn try_send(&self, message: &Outgoing<'_>, delivery: &Arc<Delivery>) -> Result<(), SendRefused> {
        let offset = self.append(message).map_err(SendRefused::Failed)?;
        delivery.sent();
        match &mut self.cluster.state().held {
            Some(held) => held.push((Arc::clone(delivery), offset)),
            None => delivery.done(Ok(Some(offset))),
        }
        Ok(())
    }
}

impl MemoryTopic {
    /// Appends a message to the log and returns its offset.
    fn append(&self, message: &Outgoing<'_>) -> Result<Offset, TransportError> {
        let what = format!("send to topic `{}`", self.name);
        let now = self.cluster.time();
        let mut state = self.cluster.state();
        let count = state.broker.topic(&self.name).map(faust_broker::core::Topic::partitions);
        let count = count.ok_or_else(|| TransportError::fatal(&what, "the topic does not exist"))?;
        let partition = match (message.partition, message.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of(key, count),
            (None, None) => {
                state.turn = (state.turn + 1) % count;
                state.turn
            }
        };
        let owned = |bytes: Option<&[u8]>| bytes.map(bytes::Bytes::copy_from_slice);
        let record = Record {
            offset: 0,
            timestamp: message.timestamp.unwrap_or(now).0,
            key: owned(message.key),
            value: owned(message.payload),
            headers: message.headers.iter().map(|(name, value)| (name.to_owned(), owned(value))).collect(),
        };
        let batch =
            records::encode(&[record], Producer::NONE).and_then(Batch::parse).map_err(|code| refused(&what, code))?;
        let appended =
            state.broker.append(&self.name, partition, &batch, now.0).map_err(|code| refused(&what, code))?;
        state.active();
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(std::task::Waker::wake);
        Ok(Offset(appended.base_offset))
    }
}
