//! Sending to one topic through a cached handle.

use std::ffi::{CString, c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::producer::{Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::handle::millis;
use crate::time::Timestamp;
use crate::transport::delivery::Delivery;
use crate::transport::port::Outgoing;

/// librdkafka's value for "chosen by the partitioner".
const ANY_PARTITION: i32 = -1;

/// A producer's handle to a topic, looked up once.
pub(crate) struct TopicHandle<C: ProducerContext<DeliveryOpaque = Arc<Delivery>> + 'static> {
    topic: *mut rd::rd_kafka_topic_t,
    producer: Arc<ThreadedProducer<C>>,
}

// SAFETY: librdkafka's topic handles may be used from any thread.
unsafe impl<C: ProducerContext<DeliveryOpaque = Arc<Delivery>>> Send for TopicHandle<C> {}

// SAFETY: as above.
unsafe impl<C: ProducerContext<DeliveryOpaque = Arc<Delivery>>> Sync for TopicHandle<C> {}

impl<C: ProducerContext<DeliveryOpaque = Arc<Delivery>> + 'static> TopicHandle<C> {
    /// Opens a handle to a topic. Fails for a name that no topic can have.
    pub(crate) fn open(producer: &Arc<ThreadedProducer<C>>, name: &str) -> Result<Self, RDKafkaErrorCode> {
        let name = CString::new(name).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
        // SAFETY: the handle lives as long as `producer`, which is held; without settings the producer's own apply.
        let topic = unsafe { rd::rd_kafka_topic_new(producer.client().native_ptr(), name.as_ptr(), ptr::null_mut()) };
        if topic.is_null() {
            // SAFETY: reads a thread-local.
            return Err(unsafe { rd::rd_kafka_last_error() }.into());
        }
        Ok(Self { topic, producer: Arc::clone(producer) })
    }

    /// Copies a message into the producer's buffer. `delivery` is passed back to the producer's context.
    pub(crate) fn send(&self, message: &Outgoing<'_>, delivery: Arc<Delivery>) -> Result<(), RDKafkaErrorCode> {
        let opaque = Arc::into_raw(delivery).cast_mut().cast::<c_void>();
        let is_plain = message.headers.is_empty() && message.last_header.is_none() && message.timestamp.is_none();
        let error = if is_plain { self.produce(message, opaque) } else { self.produce_in_full(message, opaque) };
        if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        // SAFETY: the message was rejected, so no delivery report will release this reference.
        drop(unsafe { Arc::from_raw(opaque.cast_const().cast::<Delivery>()) });
        Err(error.into())
    }

    fn produce(&self, message: &Outgoing<'_>, opaque: *mut c_void) -> RDKafkaRespErr {
        let ((payload, len), (key, key_len)) = (raw(message.payload), raw(message.key));
        let partition = message.partition.unwrap_or(ANY_PARTITION);
        // SAFETY: the topic is valid; the bytes are copied before the call returns.
        unsafe {
            let flags = rd::RD_KAFKA_MSG_F_COPY as c_int;
            match rd::rd_kafka_produce(self.topic, partition, flags, payload, len, key, key_len, opaque) {
                0 => RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR,
                _ => rd::rd_kafka_last_error(),
            }
        }
    }

    fn produce_in_full(&self, message: &Outgoing<'_>, opaque: *mut c_void) -> RDKafkaRespErr {
        use rd::rd_kafka_vtype_t as tag;
        let ((payload, len), (key, key_len)) = (raw(message.payload), raw(message.key));
        // SAFETY: the arguments are pairs of a tag and the value that librdkafka's manual requires for it, terminated
        // by the end tag; bytes are copied before the call returns, and it takes ownership of the headers unless it
        // fails.
        unsafe {
            let headers = native_headers(message);
            let error = rd::rd_kafka_producev(
                self.producer.client().native_ptr(),
                tag::RD_KAFKA_VTYPE_RKT,
                self.topic,
                tag::RD_KAFKA_VTYPE_PARTITION,
                message.partition.unwrap_or(ANY_PARTITION),
                tag::RD_KAFKA_VTYPE_MSGFLAGS,
                rd::RD_KAFKA_MSG_F_COPY as c_int,
                tag::RD_KAFKA_VTYPE_VALUE,
                payload,
                len,
                tag::RD_KAFKA_VTYPE_KEY,
                key,
                key_len,
                tag::RD_KAFKA_VTYPE_OPAQUE,
                opaque,
                tag::RD_KAFKA_VTYPE_TIMESTAMP,
                message.timestamp.map_or(0, Timestamp::as_millis),
                tag::RD_KAFKA_VTYPE_HEADERS,
                headers,
                tag::RD_KAFKA_VTYPE_END,
            );
            if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && !headers.is_null() {
                rd::rd_kafka_headers_destroy(headers);
            }
            error
        }
    }
}

impl<C: ProducerContext<DeliveryOpaque = Arc<Delivery>> + 'static> Drop for TopicHandle<C> {
    fn drop(&mut self) {
        // SAFETY: created by this module, destroyed once, before the producer, which is still held.
        unsafe { rd::rd_kafka_topic_destroy(self.topic) }
    }
}

fn raw(bytes: Option<&[u8]>) -> (*mut c_void, usize) {
    bytes.map_or((ptr::null_mut(), 0), |bytes| (bytes.as_ptr().cast_mut().cast(), bytes.len()))
}

/// Converts headers to a list that the caller must destroy or pass on; null if there are none.
fn native_headers(message: &Outgoing<'_>) -> *mut rd::rd_kafka_headers_t {
    let count = message.headers.len() + usize::from(message.last_header.is_some());
    if count == 0 {
        return ptr::null_mut();
    }
    // SAFETY: names and values are copied into a list that this function owns.
    unsafe {
        let list = rd::rd_kafka_headers_new(count);
        for (name, value) in message.all_headers() {
            let (bytes, len) = raw(value);
            rd::rd_kafka_header_add(list, name.as_ptr().cast(), name.len().cast_signed(), bytes, len.cast_signed());
        }
        list
    }
}

/// Sends all buffered messages and waits for their delivery reports; returns whether none are left. rdkafka's own flush
/// takes at least 100 ms.
pub(crate) fn flush<C: ProducerContext + 'static>(producer: &ThreadedProducer<C>, within: Duration) -> bool {
    // SAFETY: the handle is valid for as long as `producer` is borrowed.
    let error = unsafe { rd::rd_kafka_flush(producer.client().native_ptr(), millis(within)) };
    error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// Makes a producer fail for good, as after a fault of its sequence numbers.
#[cfg(test)]
pub(crate) fn fail<C: ProducerContext + 'static>(producer: &ThreadedProducer<C>, reason: &std::ffi::CStr) {
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    // SAFETY: the handle is valid for as long as `producer` is borrowed, and the text is copied.
    unsafe { rd::rd_kafka_test_fatal_error(producer.client().native_ptr(), error, reason.as_ptr()) };
}

/// Requests the metadata of the topics that the producer has opened, and returns whether a broker has answered. Blocks.
///
/// rdkafka can only ask for one topic, which may create it, or for all.
pub(crate) fn refresh_metadata<C: ProducerContext + 'static>(producer: &ThreadedProducer<C>, within: Duration) -> bool {
    let mut metadata = ptr::null();
    // SAFETY: the handle is valid for as long as `producer` is borrowed. The metadata is owned here if the call succeeds.
    unsafe {
        let client = producer.client().native_ptr();
        let error = rd::rd_kafka_metadata(client, 0, ptr::null_mut(), &mut metadata, millis(within));
        if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return false;
        }
        rd::rd_kafka_metadata_destroy(metadata);
    }
    true
}
