//! Lookup of topic ids, for which rdkafka has no call.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char};
use std::time::Duration;

use rdkafka::client::Client;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{ClientContext, bindings as rd};

use super::handle::{NativeHandle, ResultQueue};

/// Returns each topic's id, or the error for it. The id is 0 if the broker does not support topic ids. Blocks.
pub(crate) fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    names: &BTreeSet<String>,
    within: Duration,
) -> Result<Vec<TopicId>, RDKafkaErrorCode> {
    let names: Result<Vec<_>, _> = names.iter().map(|name| CString::new(name.as_str())).collect();
    let names = names.map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: the client is valid while borrowed. The names are copied; queue, collection and event are owned here and
    // destroyed once each, the event only after the data read from it has been copied.
    unsafe {
        let queue = ResultQueue::new(client.native_ptr());
        let topics = rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let topics = NativeHandle(topics, rd::rd_kafka_TopicCollection_destroy);
        // Without options the timeout is `socket.timeout.ms`, which is set to the request timeout.
        rd::rd_kafka_DescribeTopics(client.native_ptr(), topics.0, std::ptr::null(), queue.native());
        let event = queue.result(within)?;
        Ok(described(event.0))
    }
}

/// A topic's name with its id or error.
pub(crate) type TopicId = (String, Result<u128, RDKafkaErrorCode>);

/// Copies the topic ids from the result of a describe-topics request.
///
/// # Safety
/// `event` must be valid, and the result of a describe-topics request.
unsafe fn described(event: *mut rd::rd_kafka_event_t) -> Vec<TopicId> {
    // SAFETY: as promised by the caller; other events have no topics. The array has `count` elements, names end with a
    // NUL, ids live as long as their topic; an error may be null.
    unsafe {
        let result = rd::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Vec::new();
        }
        let mut count = 0;
        let first = rd::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let topics = if count == 0 { &[] } else { std::slice::from_raw_parts(first, count) };
        let row = |topic: &*const rd::rd_kafka_TopicDescription_t| {
            let name = CStr::from_ptr(rd::rd_kafka_TopicDescription_name(*topic)).to_string_lossy().into_owned();
            let error = rd::rd_kafka_error_code(rd::rd_kafka_TopicDescription_error(*topic));
            let id = match error {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {
                    Ok(number(rd::rd_kafka_TopicDescription_topic_id(*topic)))
                }
                error => Err(error.into()),
            };
            (name, id)
        };
        topics.iter().map(row).collect()
    }
}

/// Converts a topic id to a number.
///
/// # Safety
/// `id` must be valid.
unsafe fn number(id: *const rd::rd_kafka_Uuid_t) -> u128 {
    // SAFETY: as promised by the caller.
    let (high, low) =
        unsafe { (rd::rd_kafka_Uuid_most_significant_bits(id), rd::rd_kafka_Uuid_least_significant_bits(id)) };
    u128::from(high.cast_unsigned()) << 64 | u128::from(low.cast_unsigned())
}
