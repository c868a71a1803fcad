//! The generation of a group's member, for which rdkafka has no call.

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
