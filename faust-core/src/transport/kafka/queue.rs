//! The queue of one assigned partition. It yields batches of borrowed messages and wakes its reader when messages
//! arrive.

use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tracing::debug;

use super::errors::{failed, refused};
use super::native::{Fetched, GroupConsumer, PartitionReader, ReadState};
use super::offsets::listed_at;
use crate::error::{TransportError, TransportErrorKind};
use crate::message::{Offset, RawMessage};
use crate::transport::port::{GroupListener, PartitionQueue, TopicPartition};

/// Timeout of a seek, in which librdkafka's main thread only moves a position.
const SEEK_WITHIN: Duration = Duration::from_secs(5);
/// Timeout of the request that wakes the threads of brokers, which look after a second anyway.
const WAKE_WITHIN: Duration = Duration::from_secs(1);

/// The engine's side of a partition's queue. The group closes librdkafka's side once the partition has been unassigned: from then
/// on, the queue yields nothing.
pub(super) struct KafkaQueue<C: ConsumerContext + 'static> {
    partition: TopicPartition,
    reader: Arc<PartitionReader>,
    member: Arc<GroupConsumer<C>>,
    /// The offset after the last message passed on. Reading resumes here after an error.
    next: Offset,
    /// Messages behind an error have been dropped: the next read seeks first.
    has_gap: bool,
    end: Option<Offset>,
    /// Receives the offsets of messages that were deleted before they were read.
    listener: Option<Arc<dyn GroupListener>>,
    /// Deleted messages before this offset have been reported.
    reported: Offset,
    /// An offset was out of range: librdkafka has stopped fetching the partition, and a seek does not restart it.
    stopped: bool,
}

impl<C: ConsumerContext + 'static> crate::transport::port::Sealed for KafkaQueue<C> {}

impl<C: ConsumerContext + 'static> PartitionQueue for KafkaQueue<C> {
    fn poll_batch(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        each: &mut dyn FnMut(RawMessage<'_>),
    ) -> Poll<Result<usize, TransportError>> {
        let mut read = self.read(max, each);
        if let Ok(0) = read {
            // A queue wakes only when it turns from empty to non-empty, so poll again once the waker is registered.
            self.reader.register(cx.waker());
            read = self.read(max, each);
        }
        match read {
            Ok(0) => Poll::Pending,
            read => Poll::Ready(read),
        }
    }

    fn seek(&mut self, offset: Offset) -> Result<(), TransportError> {
        self.seek_to(offset)?;
        (self.next, self.reported, self.end) = (offset, offset, None);
        Ok(())
    }

    fn end(&self) -> Option<Offset> {
        self.end
    }

    fn is_held(&self) -> bool {
        self.end.is_some_and(|end| self.high_watermark().is_some_and(|high| high > end))
    }

    fn high_watermark(&self) -> Option<Offset> {
        self.reader.watermarks().map(|(_, high)| high)
    }
}

impl<C: ConsumerContext + 'static> KafkaQueue<C> {
    /// Creates the queue of a partition that has been [`split`] off and is positioned at offset `next`.
    pub(super) fn new(
        partition: TopicPartition,
        reader: Arc<PartitionReader>,
        member: Arc<GroupConsumer<C>>,
        next: Offset,
    ) -> Self {
        let (end, listener) = (None, None);
        Self { partition, reader, member, next, has_gap: false, end, listener, reported: next, stopped: false }
    }

    /// Sets the listener that receives the offsets of messages that were deleted before they were read.
    pub(super) fn reporting(self, listener: Arc<dyn GroupListener>) -> Self {
        Self { listener: Some(listener), ..self }
    }

    fn read(&mut self, max: usize, each: &mut dyn FnMut(RawMessage<'_>)) -> Result<usize, TransportError> {
        if self.has_gap {
            self.seek_to(self.next)?;
        }
        let (mut next, mut end, mut count, mut fault) = (self.next, self.end, 0, None);
        let batch = self.reader.read(max);
        let gaps = batch.gaps(next);
        batch.pass(&mut |fetched| match fetched {
            // Messages behind an error are read again after a seek.
            _ if fault.is_some() => {}
            Fetched::Message(message) => {
                (next, end, count) = (message.offset.next(), None, count + 1);
                each(message);
            }
            Fetched::End(offset) => end = Some(offset),
            Fetched::Failed(code) => fault = Some(code),
        });
        (self.next, self.end) = (next, end);
        self.report_deleted(gaps);
        match fault {
            None => Ok(count),
            Some(code) => self.fault(code),
        }
    }

    /// Reports the offsets without messages that were deleted: those before the log start. Others belong to
    /// compacted or aborted messages, or to markers of transactions.
    fn report_deleted(&mut self, gaps: Vec<Range<Offset>>) {
        let Some(listener) = self.listener.as_ref().filter(|_| !gaps.is_empty()) else { return };
        let low = self.reader.watermarks().map_or(Offset(0), |(low, _)| low);
        for gap in gaps {
            let unread = gap.start.max(self.reported)..gap.end.min(low);
            self.reported = self.reported.max(gap.end);
            if !unread.is_empty() {
                listener.deleted(&self.partition, unread, gap.end);
            }
        }
    }

    /// Converts an error code to an error.
    fn fault(&mut self, code: RDKafkaErrorCode) -> Result<usize, TransportError> {
        let what = format!("reading {} at offset {}", self.partition, self.next);
        let error = refused(what, code);
        self.stopped |= error.kind == TransportErrorKind::OffsetOutOfRange;
        // Also because librdkafka's own position is one too high after an error within a batch. After a permanent error, the
        // engine seeks.
        self.has_gap |= error.is_retriable();
        Err(error)
    }

    fn seek_to(&mut self, offset: Offset) -> Result<(), TransportError> {
        let reader = Arc::clone(&self.reader);
        // Otherwise it would move the queue of a later assignment.
        reader.while_open(|| self.move_open(offset)).unwrap_or(Ok(()))
    }

    fn move_open(&mut self, offset: Offset) -> Result<(), TransportError> {
        let TopicPartition { topic, partition } = &self.partition;
        let at = rdkafka::Offset::Offset(offset.0);
        let consumer = self.member.consumer();
        // In a group, only a rebalance may change the assignment; librdkafka rejects other changes.
        let restart = self.stopped && matches!(consumer.rebalance_protocol(), RebalanceProtocol::None);
        let sought = if restart {
            // The queue stays split: librdkafka remembers that the application has split it.
            listed_at([(&self.partition, at)]).and_then(|list| {
                consumer.incremental_unassign(&list)?;
                consumer.incremental_assign(&list)
            })
        } else {
            consumer.seek(topic, *partition, at, SEEK_WITHIN)
        };
        sought.map_err(|error| failed(format!("seek of {topic}[{partition}] to {offset}"), &error))?;
        (self.stopped, self.has_gap) = (false, false);
        Ok(())
    }
}

/// Assigns partitions and starts reading each of them from its own queue.
///
/// IMPORTANT: the order must not change: assign, pause, split, seek, resume. Messages fetched between the assignment
/// and the split are placed on the consumer's own queue, which the engine does not read; the seek invalidates them, and
/// they are fetched again.
///
/// # Errors
/// The error of the call that librdkafka rejected. The caller then unassigns the partitions.
pub(super) fn split<C: ConsumerContext + 'static>(
    member: &Arc<GroupConsumer<C>>,
    starts: &[(TopicPartition, rdkafka::Offset)],
    reading: ReadState,
    assign: impl FnOnce(&rdkafka::TopicPartitionList) -> Result<(), KafkaError>,
) -> Result<Vec<PartitionReader>, TransportError> {
    let what = "assignment";
    let consumer = member.consumer();
    let list =
        listed_at(starts.iter().map(|(partition, start)| (partition, *start))).map_err(|error| failed(what, &error))?;
    assign(&list).map_err(|error| failed(what, &error))?;
    // The group has more members than partitions, or the partitions before stay. librdkafka rejects a seek with an empty list.
    if starts.is_empty() {
        wake_fetchers(consumer);
        return Ok(Vec::new());
    }
    consumer.pause(&list).map_err(|error| failed("pause after the assignment", &error))?;
    let mut readers = Vec::with_capacity(starts.len());
    for (partition, _) in starts {
        let reader = PartitionReader::split(member, &partition.topic, partition.partition, reading);
        readers.push(reader.ok_or_else(|| TransportError::fatal(what, format!("{partition} has no queue")))?);
    }
    let sought = consumer
        .seek_partitions(list.clone(), SEEK_WITHIN)
        .map_err(|error| failed("seek after the assignment", &error))?;
    for row in sought.elements() {
        // `State` means that fetching has not started, so no message can be on the wrong queue.
        if let Err(KafkaError::OffsetFetch(code)) = row.error()
            && code != RDKafkaErrorCode::State
        {
            return Err(refused(format!("seek of {}[{}]", row.topic(), row.partition()), code));
        }
    }
    consumer.resume(&list).map_err(|error| failed("resume after the assignment", &error))?;
    wake_fetchers(consumer);
    Ok(readers)
}

/// Wakes librdkafka's threads of brokers, so that they fetch resumed partitions at once.
///
/// librdkafka 2.12.1 resumes a partition by clearing a flag, and does not wake the thread of its leader, which sleeps for up to a
/// second if it had nothing to fetch when it last looked. That holds for [`split`], and for the partitions that stay in an
/// incremental rebalance, which librdkafka pauses until the callback. A request to the leader wakes its thread. The look-up of the
/// assignment comes before it, because the main thread of librdkafka answers it after the resumption.
pub(super) fn wake_fetchers<C: ConsumerContext>(consumer: &BaseConsumer<C>) {
    let asked = consumer.assignment().and_then(|mut list| {
        if list.count() == 0 {
            return Ok(());
        }
        list.set_all_offsets(rdkafka::Offset::End)?;
        consumer.offsets_for_times(list, WAKE_WITHIN).map(drop)
    });
    if let Err(error) = asked {
        debug!(target: "faust::kafka", "{}", failed("waking the fetchers", &error));
    }
}
