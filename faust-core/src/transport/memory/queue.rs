//! Reading of one partition of the in-memory cluster.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use faust_broker::core::{ErrorCode, OffsetSpec, records};

use super::cluster::{MemoryCluster, refused};
use super::faults::ClusterFault;
use crate::config::OffsetReset;
use crate::error::{TransportError, TransportErrorKind};
use crate::message::{Headers, Offset, OwnedMessage, RawMessage};
use crate::time::{Timestamp, millis};
use crate::transport::port::{GroupListener, PartitionQueue, TopicPartition, stored_timestamp};

/// Maximum number of bytes read from the log at a time.
const CHUNK: usize = 1 << 20;

pub(super) struct MemoryQueue {
    cluster: MemoryCluster,
    partition: TopicPartition,
    position: Offset,
    buffer: VecDeque<OwnedMessage>,
    at_end: bool,
    /// At the last look, messages of an open transaction followed.
    is_held: bool,
    /// The queue belongs to a member of a group. Others are not refused: a restore would end its worker, as it should.
    of_group: bool,
    /// Time since when the topic has not existed.
    missing_since: Option<Timestamp>,
    /// Position at which reading resumes after retention has deleted the next message; an error if absent.
    reset: Option<OffsetSpec>,
    /// Receives the offsets of messages that were deleted before they were read.
    listener: Option<Arc<dyn GroupListener>>,
}

/// Time after which librdkafka reports that a topic does not exist (`topic.metadata.propagation.max.ms`). Until then, it
/// looks for the topic.
const MISSING: Duration = Duration::from_secs(30);

impl MemoryQueue {
    /// Returns the error that occurs in a batch of `count` messages, and the number of messages before it.
    fn fault(&self, count: usize) -> Option<(usize, TransportError)> {
        if count < 2 {
            return None;
        }
        let mut state = self.cluster.state();
        let what = format!("reading {}", self.partition);
        let error = if state.faults.occurs(ClusterFault::FetchError) {
            TransportError::retriable(what, "the connection was lost")
        } else if self.of_group && state.faults.occurs(ClusterFault::FetchRefused) {
            TransportError::fatal(what, "the topic's authorization has failed")
        } else {
            return None;
        };
        state.active();
        Some((state.faults.below(count), error))
    }

    pub(super) fn new(cluster: MemoryCluster, partition: TopicPartition, position: Offset) -> Self {
        Self {
            cluster,
            partition,
            position,
            buffer: VecDeque::new(),
            at_end: false,
            is_held: false,
            of_group: false,
            missing_since: None,
            reset: None,
            listener: None,
        }
    }

    pub(super) fn of_group(self) -> Self {
        Self { of_group: true, ..self }
    }

    pub(super) fn resetting(self, reset: OffsetReset) -> Self {
        let reset = match reset {
            OffsetReset::Earliest => Some(OffsetSpec::Earliest),
            OffsetReset::Latest => Some(OffsetSpec::Latest),
            OffsetReset::None => None,
        };
        Self { reset, ..self }
    }

    /// Sets the listener that receives the offsets of messages that were deleted before they were read.
    pub(super) fn reporting(self, listener: Arc<dyn GroupListener>) -> Self {
        Self { listener: Some(listener), ..self }
    }

    pub(super) fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Reads the next chunk from the log. If there is none, registers the waker for the next message of any partition.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<(), ErrorCode> {
        self.at_end = false;
        let cluster = self.cluster.clone();
        let now = cluster.time();
        let mut state = cluster.state();
        while self.buffer.is_empty() {
            let TopicPartition { topic, partition } = self.partition.clone();
            let read = state.broker.read_committed(&topic, partition, self.position.0, CHUNK);
            let batches = match (read, self.reset) {
                (Ok(read), _) => {
                    self.is_held = read.last_stable < read.high_watermark;
                    read.committed()?
                }
                (Err(ErrorCode::UnknownTopicOrPartition), _) if !self.is_missing_for_good(now) => {
                    state.wakers.push(cx.waker().clone());
                    return Ok(());
                }
                (Err(ErrorCode::OffsetOutOfRange), Some(reset)) => {
                    let low = Offset(state.broker.find_offset(&topic, partition, OffsetSpec::Earliest)?.offset);
                    let next = Offset(state.broker.find_offset(&topic, partition, reset)?.offset);
                    let unread = self.position..low;
                    if let Some(listener) = self.listener.as_ref().filter(|_| !unread.is_empty()) {
                        listener.deleted(&self.partition, unread, next);
                    }
                    self.position = next;
                    continue;
                }
                (Err(code), _) => return Err(code),
            };
            self.missing_since = None;
            if batches.is_empty() {
                state.wakers.push(cx.waker().clone());
                break;
            }
            for (records, last_offset) in batches {
                // A batch may start before the position.
                let wanted = records.into_iter().filter(|record| record.offset >= self.position.0);
                self.buffer.extend(wanted.map(message));
                // The batch's last offset, not the last record's: compaction may have removed the last records, or all.
                self.position = Offset(last_offset).next();
            }
        }
        self.at_end = self.buffer.is_empty();
        state.activity += u64::from(!self.at_end);
        Ok(())
    }

    /// Notes that the topic does not exist, and returns whether this has lasted long enough to be reported. The reader is
    /// woken at that time.
    fn is_missing_for_good(&mut self, now: Timestamp) -> bool {
        let Some(since) = self.missing_since else {
            self.missing_since = Some(now);
            let cluster = self.cluster.clone();
            tokio::spawn(async move {
                tokio::time::sleep(MISSING).await;
                let wakers = std::mem::take(&mut cluster.state().wakers);
                wakers.into_iter().for_each(std::task::Waker::wake);
            });
            return false;
        };
        let is_reported = now.0 - since.0 >= millis(MISSING);
        if is_reported {
            self.missing_since = None;
        }
        is_reported
    }
}

fn message(record: records::Record) -> OwnedMessage {
    let mut headers = Headers::new();
    record.headers.into_iter().for_each(|(name, value)| headers.push(name, value));
    let timestamp = stored_timestamp(record.timestamp);
    OwnedMessage { offset: Offset(record.offset), timestamp, key: record.key, payload: record.value, headers }
}

impl crate::transport::port::Sealed for MemoryQueue {}

impl PartitionQueue for MemoryQueue {
    fn poll_batch(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        each: &mut dyn FnMut(RawMessage<'_>),
    ) -> Poll<Result<usize, TransportError>> {
        if self.buffer.is_empty()
            && let Err(code) = self.fill(cx)
        {
            let what = format!("reading {} at offset {}", self.partition, self.position);
            return Poll::Ready(Err(refused(&what, code)));
        }
        let count = self.buffer.len().min(max);
        if count == 0 {
            return Poll::Pending;
        }
        let fault = self.fault(count);
        let passed = fault.as_ref().map_or(count, |(passed, _)| *passed);
        self.buffer.drain(..passed).for_each(|message| each(message.as_raw()));
        match fault {
            None => Poll::Ready(Ok(count)),
            Some((_, error)) => {
                if error.kind == TransportErrorKind::Fatal {
                    self.buffer.clear();
                }
                Poll::Ready(Err(error))
            }
        }
    }

    fn seek(&mut self, offset: Offset) -> Result<(), TransportError> {
        self.position = offset;
        self.buffer.clear();
        self.at_end = false;
        Ok(())
    }

    fn end(&self) -> Option<Offset> {
        self.at_end.then_some(self.position)
    }

    fn is_held(&self) -> bool {
        self.at_end && self.is_held
    }

    fn high_watermark(&self) -> Option<Offset> {
        self.cluster.state().end(&self.partition, OffsetSpec::Latest).ok()
    }
}
