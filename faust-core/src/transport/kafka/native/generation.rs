//! The generation and the id of a group's member, for which rdkafka has no calls.

use std::ffi::CStr;

use rdkafka::bindings as rd;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

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

/// Returns the id that the broker has given to a group's member; `None` if it has none.
pub(crate) fn member_id<C: ClientContext + ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<String> {
    let client = consumer.client().native_ptr();
    // SAFETY: the client outlives the call. The id is null or ends with a NUL; it belongs to the caller, who frees it with
    // librdkafka's own function, once, after it has been copied.
    let id = unsafe {
        let id = rd::rd_kafka_memberid(client);
        if id.is_null() {
            return None;
        }
        let text = CStr::from_ptr(id).to_string_lossy().into_owned();
        rd::rd_kafka_mem_free(client, id.cast());
        text
    };
    (!id.is_empty()).then_some(id)
}
