//! Reading of the in-memory cluster outside any group.

use std::collections::VecDeque;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::queue::MemoryQueue;
use crate::error::TransportError;
use crate::message::RawMessage;
use crate::transport::port::{PartitionQueue, Read, Reader};

pub(super) struct MemoryReader {
    /// The queues, each with whether its end has been reported since its last message.
    queues: Vec<(MemoryQueue, bool)>,
    found: VecDeque<Read>,
}

impl MemoryReader {
    pub(super) fn new(queues: Vec<MemoryQueue>) -> Self {
        Self { queues: queues.into_iter().map(|queue| (queue, false)).collect(), found: VecDeque::new() }
    }

    async fn find(&mut self) -> Result<Read, TransportError> {
        std::future::poll_fn(|cx| {
            if let Some(found) = self.found.pop_front() {
                return Poll::Ready(Ok(found));
            }
            for (queue, is_reported) in &mut self.queues {
                let partition = queue.partition().clone();
                let found = &mut self.found;
                let mut each =
                    |message: RawMessage<'_>| found.push_back(Read::Message(partition.clone(), message.to_owned()));
                match queue.poll_batch(cx, 1000, &mut each) {
                    Poll::Ready(Ok(_)) => *is_reported = false,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending if !std::mem::replace(is_reported, true) => found.push_back(Read::End(partition)),
                    Poll::Pending => {}
                }
            }
            self.found.pop_front().map_or(Poll::Pending, |found| Poll::Ready(Ok(found)))
        })
        .await
    }
}

impl crate::transport::port::Sealed for MemoryReader {}

impl Reader for MemoryReader {
    fn next(&mut self, within: Duration) -> BoxFuture<'_, Result<Option<Read>, TransportError>> {
        async move {
            match tokio::time::timeout(within, self.find()).await {
                Ok(found) => found.map(Some),
                Err(_) => Ok(None),
            }
        }
        .boxed()
    }
}
