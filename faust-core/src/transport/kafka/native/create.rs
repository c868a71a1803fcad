//! Creation of topics: rdkafka's own call drops the brokers' reasons.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use rdkafka::client::Client;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{ClientContext, bindings as rd};

use super::handle::{NativeHandle, ResultQueue, millis};
use crate::transport::port::NewTopic;

/// The reason for which a topic was not created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicRefusal {
    pub(crate) topic: String,
    pub(crate) code: RDKafkaErrorCode,
    /// The broker's description, such as the name of another topic that collides with this one.
    pub(crate) reason: String,
}

/// Creates topics, or only checks whether they could be created, and returns those that were refused. Blocks.
pub(crate) fn create_topics<C: ClientContext>(
    client: &Client<C>,
    topics: &[NewTopic],
    validate_only: bool,
    within: Duration,
) -> Result<Vec<TopicRefusal>, RDKafkaErrorCode> {
    let topics = topics.iter().map(native).collect::<Result<Vec<_>, _>>()?;
    let mut pointers: Vec<_> = topics.iter().map(|topic| topic.0).collect();
    let client = client.native_ptr();
    // SAFETY: the client is valid while borrowed. The topics are copied; queue, options and event are owned here, and
    // the event is destroyed only after the data read from it has been copied.
    unsafe {
        let queue = ResultQueue::new(client);
        let options = rd::rd_kafka_AdminOptions_new(client, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS);
        let options = NativeHandle(options, rd::rd_kafka_AdminOptions_destroy);
        // They fail only for times out of range; librdkafka's defaults apply then.
        _ = rd::rd_kafka_AdminOptions_set_request_timeout(options.0, millis(within), ptr::null_mut(), 0);
        _ = rd::rd_kafka_AdminOptions_set_operation_timeout(options.0, millis(within), ptr::null_mut(), 0);
        // A check must not create topics.
        match rd::rd_kafka_AdminOptions_set_validate_only(options.0, validate_only.into(), ptr::null_mut(), 0) {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            code => return Err(code.into()),
        }
        rd::rd_kafka_CreateTopics(client, pointers.as_mut_ptr(), pointers.len(), options.0, queue.native());
        let event = queue.result(within)?;
        Ok(refusals(event.0))
    }
}

/// Copies the refusals from the result of a create-topics request.
///
/// # Safety
/// `event` must be valid, and the result of a create-topics request.
unsafe fn refusals(event: *mut rd::rd_kafka_event_t) -> Vec<TopicRefusal> {
    // SAFETY: as promised by the caller; other events have no topics. The array has `count` elements, names end with a
    // NUL, as do reasons, which may be null.
    unsafe {
        let result = rd::rd_kafka_event_CreateTopics_result(event);
        if result.is_null() {
            return Vec::new();
        }
        let mut count = 0;
        let first = rd::rd_kafka_CreateTopics_result_topics(result, &mut count);
        let topics = if count == 0 { &[] } else { std::slice::from_raw_parts(first, count) };
        let text = |text| CStr::from_ptr(text).to_string_lossy().into_owned();
        let refusal = |topic: &*const rd::rd_kafka_topic_result_t| {
            let code = match rd::rd_kafka_topic_result_error(*topic) {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => return None,
                code => code.into(),
            };
            let reason = rd::rd_kafka_topic_result_error_string(*topic);
            let reason = if reason.is_null() { String::new() } else { text(reason) };
            Some(TopicRefusal { topic: text(rd::rd_kafka_topic_result_name(*topic)), code, reason })
        };
        topics.iter().filter_map(refusal).collect()
    }
}

fn native(topic: &NewTopic) -> Result<NativeHandle<rd::rd_kafka_NewTopic_t>, RDKafkaErrorCode> {
    let text = |text: &str| CString::new(text).map_err(|_| RDKafkaErrorCode::InvalidArgument);
    let name = text(&topic.name)?;
    // SAFETY: the strings are copied. The topic is owned by the handle, and destroyed once.
    unsafe {
        let replication = topic.replication.into();
        let native = rd::rd_kafka_NewTopic_new(name.as_ptr(), topic.partitions, replication, ptr::null_mut(), 0);
        let native = NativeHandle(native, rd::rd_kafka_NewTopic_destroy);
        if native.0.is_null() {
            return Err(RDKafkaErrorCode::InvalidArgument);
        }
        for (name, value) in &topic.configs {
            let (name, value) = (text(name)?, text(value)?);
            match rd::rd_kafka_NewTopic_set_config(native.0, name.as_ptr(), value.as_ptr()) {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {}
                code => return Err(code.into()),
            }
        }
        Ok(native)
    }
}
