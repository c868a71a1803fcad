//! Reading outside any group. Each partition is read from its own queue, because on the consumer's queue a partition
//! end does not name its topic.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tracing::debug;

use super::config::KafkaConfig;
use super::connection::NoListener;
use super::errors::{failed, refused, unusable};
use super::native::{BATCH, Fetched, GroupConsumer, PartitionReader, ReadState};
use super::offsets::watermarks;
use super::queue::split;
use crate::error::TransportError;
use crate::transport::port::{Read, Reader, StartAt, TopicPartition};

/// Interval at which the consumer's own events are served and all queues are polled in case a wake-up was lost.
const TICK: Duration = Duration::from_millis(100);

/// A reader of partitions from given offsets.
pub(super) struct KafkaReader {
    member: Option<Arc<GroupConsumer<NoListener>>>,
    queues: Vec<(TopicPartition, PartitionReader)>,
    /// Index of the queue to poll first, so that none starves.
    turn: usize,
    ready: VecDeque<Result<Read, TransportError>>,
}

impl KafkaReader {
    /// Opens a reader. Blocks only to look up the offsets of `StartAt::Latest`.
    pub(super) fn open(
        config: &KafkaConfig,
        from: Vec<(TopicPartition, StartAt)>,
        wait: Duration,
    ) -> Result<Self, TransportError> {
        let what = "opening a reader";
        let consumer: BaseConsumer<_> = config
            .outsider(from.len(), wait)
            .create_with_context(NoListener)
            .map_err(|error| unusable(what, &error))?;
        let member = Arc::new(GroupConsumer::new(consumer));
        // Messages sent after this call must be read, so the high watermarks are looked up now.
        let latest: Vec<_> =
            from.iter().filter(|(_, at)| *at == StartAt::Latest).map(|(partition, _)| partition.clone()).collect();
        let ends = watermarks(member.consumer(), &latest, config.request_timeout)?;
        let start = |(partition, at): (TopicPartition, StartAt)| {
            let offset = match at {
                StartAt::Earliest => rdkafka::Offset::Beginning,
                StartAt::Latest => match ends.get(&partition) {
                    Some((_, high)) => rdkafka::Offset::Offset(high.0),
                    None => rdkafka::Offset::End,
                },
                StartAt::Offset(offset) => rdkafka::Offset::Offset(offset.0),
            };
            (partition, offset)
        };
        let starts: Vec<_> = from.into_iter().map(start).collect();
        let readers = split(&member, &starts, ReadState::Batches, |list| member.consumer().assign(list))?;
        let queues = starts.into_iter().map(|(partition, _)| partition).zip(readers).collect();
        Ok(Self { member: Some(member), queues, turn: 0, ready: VecDeque::new() })
    }

    fn fill(&mut self) {
        for step in 0..self.queues.len() {
            let (partition, queue) = &self.queues[(self.turn + step) % self.queues.len()];
            let ready = &mut self.ready;
            queue.read(BATCH).pass(&mut |fetched| {
                ready.push_back(match fetched {
                    Fetched::Message(message) => Ok(Read::Message(partition.clone(), message.to_owned())),
                    Fetched::End(_) => Ok(Read::End(partition.clone())),
                    Fetched::Failed(code) => Err(refused(format!("reading {partition}"), code)),
                });
            });
            if !self.ready.is_empty() {
                self.turn = (self.turn + step + 1) % self.queues.len();
                return;
            }
        }
        // Serves log lines and errors; messages arrive on the partitions' queues.
        if let Some(Err(error)) = self.member.as_ref().and_then(|member| member.consumer().poll(Duration::ZERO)) {
            debug!(target: "faust::kafka", "{}", failed("reading", &error));
        }
    }

    async fn take(&mut self, within: Duration) -> Result<Option<Read>, TransportError> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let next = std::future::poll_fn(|cx| {
                if self.ready.is_empty() {
                    // Register before polling: a queue wakes only when it turns from empty to non-empty.
                    self.queues.iter().for_each(|(_, queue)| queue.register(cx.waker()));
                    self.fill();
                }
                self.ready.pop_front().map_or(Poll::Pending, Poll::Ready)
            });
            match tokio::time::timeout(left.min(TICK), next).await {
                Ok(read) => return read.map(Some),
                Err(_) if left <= TICK => return Ok(None),
                Err(_) => {}
            }
        }
    }
}

impl fmt::Debug for KafkaReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.queues.iter().map(|(partition, _)| partition.to_string())).finish()
    }
}

impl crate::transport::port::Sealed for KafkaReader {}

impl Reader for KafkaReader {
    fn next(&mut self, within: Duration) -> BoxFuture<'_, Result<Option<Read>, TransportError>> {
        self.take(within).boxed()
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.queues.clear();
        let member = self.member.take();
        // Closing a consumer blocks for 100 ms, too long for a thread of the runtime. If no thread can be started, the
        // consumer is closed here.
        let closing = std::thread::Builder::new().name("faust-reader-close".to_owned());
        drop(closing.spawn(move || drop(member)));
    }
}
