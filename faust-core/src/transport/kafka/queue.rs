//! The queue of one assigned partition: batches of borrowed messages, woken when something comes.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::{Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::errors::{failed, refused};
use super::native::{Fetched, Member, PartitionReader, Reading};
use super::offsets::listed_at;
use crate::error::{TransportError, TransportErrorKind};
use crate::message::RawMessage;
use crate::transport::port::{PartitionQueue, TopicPartition};

/// How long librdkafka's main thread may take for a seek: it only moves a position.
const SEEK_WITHIN: Duration = Duration::from_secs(5);

/// The engine's end of a partition's queue. librdkafka's end is kept by the group until after the partition is given
/// back: a queue that goes before would strand its partition.
pub(super) struct KafkaQueue<C: ConsumerContext + 'static> {
    partition: TopicPartition,
    reader: Arc<PartitionReader>,
    member: Arc<Member<C>>,
    /// The offset after the last one handed out: where reading goes on after a fault.
    next: i64,
    at_end: bool,
    /// An offset was not in the log. librdkafka has stopped fetching the partition, and a seek does not start it again.
    stopped: bool,
}

impl<C: ConsumerContext + 'static> PartitionQueue for KafkaQueue<C> {
    fn poll_batch(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        each: &mut dyn FnMut(RawMessage<'_>),
    ) -> Poll<Result<usize, TransportError>> {
        let mut read = self.read(max, each);
        if let Ok(0) = read {
            // A queue wakes only when it turns from empty to not empty, so look again once that would be noticed.
            self.reader.register(cx.waker());
            read = self.read(max, each);
        }
        match read {
            Ok(0) => Poll::Pending,
            read => Poll::Ready(read),
        }
    }

    fn seek(&mut self, offset: i64) -> Result<(), TransportError> {
        self.seek_to(Offset::Offset(offset))?;
        self.next = offset;
        self.at_end = false;
        Ok(())
    }

    fn at_end(&self) -> bool {
        self.at_end
    }
}

impl<C: ConsumerContext + 'static> KafkaQueue<C> {
    /// The queue of a partition that has been [`split`] off and stands at offset `next`.
    pub(super) fn new(
        partition: TopicPartition,
        reader: Arc<PartitionReader>,
        member: Arc<Member<C>>,
        next: i64,
    ) -> Self {
        Self { partition, reader, member, next, at_end: false, stopped: false }
    }

    fn read(&mut self, max: usize, each: &mut dyn FnMut(RawMessage<'_>)) -> Result<usize, TransportError> {
        let (mut next, mut at_end, mut count, mut fault) = (self.next, self.at_end, 0, None);
        self.reader.read(max, &mut |fetched| match fetched {
            // What was read ahead behind a fault is read again after the seek that follows.
            _ if fault.is_some() => {}
            Fetched::Message(message) => {
                (next, at_end, count) = (message.offset + 1, false, count + 1);
                each(message);
            }
            Fetched::End => at_end = true,
            Fetched::Failed(code) => fault = Some(code),
        });
        (self.next, self.at_end) = (next, at_end);
        match fault {
            None => Ok(count),
            Some(code) => self.fault(code),
        }
    }

    /// What is wrong, with the queue made ready to go on if it may pass.
    fn fault(&mut self, code: RDKafkaErrorCode) -> Result<usize, TransportError> {
        let what = format!("reading of {} at offset {}", self.partition, self.next);
        let error = refused(what, code);
        if error.kind == TransportErrorKind::OffsetOutOfRange {
            self.stopped = true;
        } else if error.is_retriable() {
            // Behind an error in a batch, librdkafka's own position is one too far.
            self.seek_to(Offset::Offset(self.next))?;
        }
        Err(error)
    }

    fn seek_to(&mut self, offset: Offset) -> Result<(), TransportError> {
        let TopicPartition { topic, partition } = &self.partition;
        let consumer = self.member.consumer();
        // Of a group's member the assignment is the group's, and librdkafka lets nobody else change it.
        let restart = self.stopped && matches!(consumer.rebalance_protocol(), RebalanceProtocol::None);
        let sought = if restart {
            // The queue stays split: librdkafka remembers that this was the program's wish.
            listed_at([(&self.partition, offset)]).and_then(|list| {
                consumer.incremental_unassign(&list)?;
                consumer.incremental_assign(&list)
            })
        } else {
            consumer.seek(topic, *partition, offset, SEEK_WITHIN)
        };
        sought.map_err(|error| failed(format!("seek of {topic}[{partition}] to {offset:?}"), &error))?;
        self.stopped = false;
        Ok(())
    }
}

/// Assigned partitions begin to be read: each from its own queue.
///
/// The order must not change: assign, pause, split, seek, resume. What is fetched between the assignment and the split
/// would lie on the consumer's own queue, where nobody looks; the seek makes it void and fetches it again.
///
/// # Errors
/// What librdkafka refused; the caller gives the partitions back.
pub(super) fn split<C: ConsumerContext + 'static>(
    member: &Arc<Member<C>>,
    starts: &[(TopicPartition, Offset)],
    reading: Reading,
    assign: impl FnOnce(&rdkafka::TopicPartitionList) -> Result<(), KafkaError>,
) -> Result<Vec<PartitionReader>, TransportError> {
    let what = "assignment";
    let consumer = member.consumer();
    let list =
        listed_at(starts.iter().map(|(partition, start)| (partition, *start))).map_err(|error| failed(what, &error))?;
    assign(&list).map_err(|error| failed(what, &error))?;
    // More members than partitions; librdkafka seeks no empty list.
    if starts.is_empty() {
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
        // `State`: the fetch has not begun, so nothing was fetched that could lie in the wrong place.
        if let Err(KafkaError::OffsetFetch(code)) = row.error()
            && code != RDKafkaErrorCode::State
        {
            return Err(refused(format!("seek of {}[{}]", row.topic(), row.partition()), code));
        }
    }
    consumer.resume(&list).map_err(|error| failed("resume after the assignment", &error))?;
    Ok(readers)
}
