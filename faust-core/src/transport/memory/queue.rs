//! Reading of one partition of the in-memory cluster.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use faust_broker::core::batch::Header;
use faust_broker::core::{ErrorCode, records};

use super::cluster::{MemoryCluster, refused};
use crate::error::TransportError;
use crate::message::{Headers, Offset, OwnedMessage, RawMessage};
use crate::time::Timestamp;
use crate::transport::port::{PartitionQueue, TopicPartition};

/// Maximum number of bytes read from the log at a time.
const CHUNK: usize = 1 << 20;

pub(super) struct MemoryQueue {
    cluster: MemoryCluster,
    partition: TopicPartition,
    position: Offset,
    buffer: VecDeque<OwnedMessage>,
    at_end: bool,
}

impl MemoryQueue {
    pub(super) fn new(cluster: MemoryCluster, partition: TopicPartition, position: Offset) -> Self {
        Self { cluster, partition, position, buffer: VecDeque::new(), at_end: false }
    }

    pub(super) fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Reads the next chunk from the log. If there is none, registers the waker for the next message of any partition.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<(), ErrorCode> {
        self.at_end = false;
        let mut state = self.cluster.state();
        while self.buffer.is_empty() {
            let read = state.broker.read(&self.partition.topic, self.partition.partition, self.position.0, CHUNK);
            let batches = read?.batches;
            if batches.is_empty() {
                state.wakers.push(cx.waker().clone());
                break;
            }
            for batch in batches {
                let header = Header::read(&batch).ok_or(ErrorCode::CorruptMessage)?;
                let records = records::decode(&batch)?;
                // A batch may start before the position.
                let wanted = records.into_iter().filter(|record| record.offset >= self.position.0);
                self.buffer.extend(wanted.map(message));
                // The batch's last offset, not the last record's: compaction may have removed the last records, or all.
                self.position = Offset(header.last_offset()).next();
            }
        }
        self.at_end = self.buffer.is_empty();
        state.activity += u64::from(!self.at_end);
        Ok(())
    }
}

fn message(record: records::Record) -> OwnedMessage {
    let mut headers = Headers::new();
    record.headers.into_iter().for_each(|(name, value)| headers.push(name, value));
    let timestamp = Timestamp(record.timestamp);
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
        self.buffer.drain(..count).for_each(|message| each(message.as_raw()));
        Poll::Ready(Ok(count))
    }

    fn seek(&mut self, offset: Offset) -> Result<(), TransportError> {
        self.position = offset;
        self.buffer.clear();
        self.at_end = false;
        Ok(())
    }

    fn at_end(&self) -> bool {
        self.at_end
    }
}
