//! Commits with a result for each partition, and the generation of a member. rdkafka's commit reports success if the broker
//! has accepted one of the offsets.

use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{TopicPartitionList, bindings as rd};

use super::answers::{PartitionAnswer, rows};
use crate::time::millis;

/// Commits offsets and waits for the response. Returns a row for each partition.
///
/// # Errors
/// The request as a whole has failed, or was not answered in time.
pub(crate) fn commit<C: ClientContext + ConsumerContext>(
    consumer: &BaseConsumer<C>,
    offsets: &TopicPartitionList,
    within: Duration,
) -> Result<Vec<PartitionAnswer>, RDKafkaErrorCode> {
    let client = consumer.client().native_ptr();
    // SAFETY: the client outlives the call. librdkafka copies the offsets, and the queue, which only this call uses, is destroyed
    // at its end: a late response is then discarded.
    let queue = CommitQueue(unsafe { rd::rd_kafka_queue_new(client) });
    // SAFETY: as above; without a callback, the response is an event on the queue.
    let sent = unsafe { rd::rd_kafka_commit_queue(client, offsets.ptr(), queue.0, None, std::ptr::null_mut()) };
    if sent != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Err(sent.into());
    }
    let within = i32::try_from(millis(within)).unwrap_or(i32::MAX);
    // SAFETY: the queue is valid. Null stands for a timeout.
    let event = CommitEvent(unsafe { rd::rd_kafka_queue_poll(queue.0, within) });
    if event.0.is_null() {
        return Err(RDKafkaErrorCode::OperationTimedOut);
    }
    // SAFETY: the event is valid until it is dropped, and so is its list; null stands for none.
    unsafe {
        let list = rd::rd_kafka_event_topic_partition_list(event.0);
        let error = RDKafkaErrorCode::from(rd::rd_kafka_event_error(event.0));
        let rows = if list.is_null() { Vec::new() } else { rows(list) };
        // If all rows have failed, the last one's error is that of the request too.
        let is_of_a_row = rows.iter().any(|row| row.error != RDKafkaErrorCode::NoError);
        if error == RDKafkaErrorCode::NoError || is_of_a_row { Ok(rows) } else { Err(error) }
    }
}

/// Returns the generation of the group in which the consumer got its assignment; 0 if it has none.
pub(crate) fn generation<C: ClientContext + ConsumerContext>(consumer: &BaseConsumer<C>) -> u64 {
    // SAFETY: the client outlives the call, and the metadata, null for a client without a group, are destroyed by it.
    let generation = unsafe {
        let metadata = rd::rd_kafka_consumer_group_metadata(consumer.client().native_ptr());
        if metadata.is_null() {
            return 0;
        }
        let generation = rd::rd_kafka_consumer_group_metadata_generation_id(metadata);
        rd::rd_kafka_consumer_group_metadata_destroy(metadata);
        generation
    };
    u64::try_from(generation).unwrap_or(0)
}

struct CommitQueue(*mut rd::rd_kafka_queue_t);

impl Drop for CommitQueue {
    fn drop(&mut self) {
        // SAFETY: the queue is valid and has no other owner.
        unsafe { rd::rd_kafka_queue_destroy(self.0) }
    }
}

struct CommitEvent(*mut rd::rd_kafka_event_t);

impl Drop for CommitEvent {
    fn drop(&mut self) {
        // SAFETY: the event is valid or null, which is ignored, and has no other owner.
        unsafe { rd::rd_kafka_event_destroy(self.0) }
    }
}
