//! The few calls that go past rdkafka to librdkafka itself; with `native/` the only unsafe code of the crate.
//!
//! Why: reading a partition's queue message by message costs an event, an `Arc` and two locks each, and sending looks
//! the topic up by name each time. In batches and with a cached topic the whole path handles 1.14-1.78 times the events
//! of the plain loop instead of 1.01-1.17 times. rdkafka also panics on header names and offset metadata that are not
//! UTF-8, which any other program may have written, and cannot leave a consumer without a goodbye to the group.
#![allow(unsafe_code)]

mod describe;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use rdkafka::TopicPartitionList;
use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::producer::{Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

pub(super) use self::describe::topic_ids;
use crate::message::{Headers, RawMessage};
use crate::time::Timestamp;
use crate::transport::delivery::Delivery;
use crate::transport::port::{Committed, Outgoing};

/// How many messages one call takes from a queue at most; 16 to 512 measured equally good.
pub(super) const BATCH: usize = 128;
/// librdkafka's word for "placed by the partitioner".
const ANY_PARTITION: i32 = -1;

/// A consumer that can end like a crashed process: without telling the group.
pub(super) struct Member<C: ConsumerContext + 'static> {
    consumer: ManuallyDrop<BaseConsumer<C>>,
    abandoned: AtomicBool,
}

impl<C: ConsumerContext + 'static> Member<C> {
    pub(super) fn new(consumer: BaseConsumer<C>) -> Self {
        Self { consumer: ManuallyDrop::new(consumer), abandoned: AtomicBool::new(false) }
    }

    pub(super) fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    /// When it is dropped, no request is made to the group: for a crash, and for a coordinator that is away, where
    /// librdkafka 2.12.1 can crash on leaving.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

impl<C: ConsumerContext + 'static> Drop for Member<C> {
    fn drop(&mut self) {
        if self.abandoned.load(Ordering::Relaxed) {
            let context = Arc::as_ptr(self.consumer.context());
            // SAFETY: the consumer is not dropped and never used again, so its handle is destroyed once, here; every
            // `PartitionReader` holds an `Arc` of this member, so none outlives the handle. The context's count held
            // by the forgotten consumer is given back after the last callback may have run.
            unsafe {
                rd::rd_kafka_destroy_flags(
                    self.consumer.client().native_ptr(),
                    rd::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE,
                );
                Arc::decrement_strong_count(context);
            }
        } else {
            // SAFETY: dropped once, here, and never used again.
            unsafe { ManuallyDrop::drop(&mut self.consumer) }
        }
    }
}

/// One partition's queue, split from the consumer's.
pub(super) struct PartitionReader {
    queue: *mut rd::rd_kafka_queue_t,
    // Boxed because librdkafka's callback holds its address.
    waker: Box<AtomicWaker>,
    reading: Reading,
    _consumer: Arc<dyn Send + Sync>,
}

// SAFETY: librdkafka's queues may be used from any thread; the rest is Send and Sync.
unsafe impl Send for PartitionReader {}
// SAFETY: as above.
unsafe impl Sync for PartitionReader {}

/// How a queue is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Many messages a call. Behind an end or an error in a batch, librdkafka 2.12.1's own position is one too far
    /// (fixed in 2.13.2), which matters only where librdkafka itself pauses partitions.
    Batches,
    /// One message a call: for partitions that stay assigned through a rebalance, for which librdkafka pauses them.
    Singly,
}

/// What lies in a partition's queue.
pub(super) enum Fetched<'a> {
    Message(RawMessage<'a>),
    /// The partition's end, at this offset.
    End,
    Failed(RDKafkaErrorCode),
}

impl PartitionReader {
    /// Splits the queue of an assigned partition from the consumer's; `None` for a topic's name with a NUL.
    pub(super) fn split<C: ConsumerContext + 'static>(
        member: &Arc<Member<C>>,
        topic: &str,
        partition: i32,
        reading: Reading,
    ) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: the handle lives as long as `member`, which the reader keeps; the topic's name outlives the call.
        let queue = unsafe {
            rd::rd_kafka_queue_get_partition(member.consumer().client().native_ptr(), topic.as_ptr(), partition)
        };
        if queue.is_null() {
            return None;
        }
        let waker = Box::new(AtomicWaker::new());
        // SAFETY: `queue` is valid; the waker's address stays until `drop` has switched the callback off.
        unsafe {
            rd::rd_kafka_queue_forward(queue, ptr::null_mut());
            rd::rd_kafka_queue_cb_event_enable(queue, Some(nonempty), ptr::from_ref(&*waker).cast_mut().cast());
        }
        Some(Self { queue, waker, reading, _consumer: member.clone() })
    }

    /// Hands over what is there, at most `max` and [`BATCH`]; how many there were.
    pub(super) fn read(&self, max: usize, each: &mut dyn FnMut(Fetched<'_>)) -> usize {
        let mut batch = Batch { messages: [ptr::null_mut(); BATCH], next: 0, len: 0 };
        let max = max.min(BATCH);
        match self.reading {
            Reading::Batches => {
                let first = batch.messages.as_mut_ptr();
                // SAFETY: the queue is valid, the array has room for as many as are asked for.
                let got = unsafe { rd::rd_kafka_consume_batch_queue(self.queue, 0, first, max) };
                batch.len = usize::try_from(got).unwrap_or(0);
            }
            Reading::Singly => {
                while batch.len < max {
                    // SAFETY: the queue is valid.
                    let message = unsafe { rd::rd_kafka_consume_queue(self.queue, 0) };
                    if message.is_null() {
                        break;
                    }
                    batch.messages[batch.len] = message;
                    batch.len += 1;
                }
            }
        }
        while let Some(message) = batch.pop() {
            each(message.view());
        }
        batch.len
    }

    /// Wakes when the queue turns from empty to not empty: look again after this.
    pub(super) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Wakes whoever waits, as if something had come.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }
}

impl Drop for PartitionReader {
    fn drop(&mut self) {
        // SAFETY: switching the callback off takes the queue's lock, under which librdkafka calls it, so it does not
        // run any more when the waker goes. The queue is destroyed once, before the consumer that is still held.
        unsafe {
            rd::rd_kafka_queue_cb_event_enable(self.queue, None, ptr::null_mut());
            rd::rd_kafka_queue_destroy(self.queue);
        }
    }
}

unsafe extern "C" fn nonempty(_: *mut rd::rd_kafka_t, waker: *mut c_void) {
    // SAFETY: `split` passed the address of a waker that lives until the callback is off.
    unsafe { (*waker.cast_const().cast::<AtomicWaker>()).wake() }
}

/// Messages taken from a queue; those not handed over, because a callback panicked, are freed as well.
struct Batch {
    messages: [*mut rd::rd_kafka_message_t; BATCH],
    next: usize,
    len: usize,
}

impl Batch {
    fn pop(&mut self) -> Option<NativeMessage> {
        if self.next == self.len {
            return None;
        }
        self.next += 1;
        Some(NativeMessage(self.messages[self.next - 1]))
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

struct NativeMessage(*mut rd::rd_kafka_message_t);

impl NativeMessage {
    fn view(&self) -> Fetched<'_> {
        // SAFETY: the message is valid until `drop`; key and payload are null or as long as said.
        let message = unsafe { &*self.0 };
        match message.err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => return Fetched::End,
            error => return Fetched::Failed(error.into()),
        }
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: as above.
        unsafe {
            Fetched::Message(RawMessage {
                offset: message.offset,
                timestamp: Timestamp(rd::rd_kafka_message_timestamp(self.0, &mut kind).max(0)),
                key: bytes_at(message.key, message.key_len),
                payload: bytes_at(message.payload, message.len),
                headers: headers_of(self.0),
            })
        }
    }
}

impl Drop for NativeMessage {
    fn drop(&mut self) {
        // SAFETY: taken from the queue by us, destroyed once.
        unsafe { rd::rd_kafka_message_destroy(self.0) }
    }
}

// SAFETY: for callers: `pointer` is null, or points to `len` bytes that live for 'a.
unsafe fn bytes_at<'a>(pointer: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: as promised by the caller.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer.cast(), len) })
}

// SAFETY: for callers: `message` is valid.
unsafe fn headers_of(message: *const rd::rd_kafka_message_t) -> Headers {
    let mut headers = Headers::new();
    let mut list = ptr::null_mut();
    // SAFETY: the message is valid, and owns the list, whose names end with a NUL and whose values are as long as said.
    unsafe {
        if rd::rd_kafka_message_headers(message, &mut list) != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return headers;
        }
        let (mut name, mut value, mut len): (*const c_char, *const c_void, usize) = (ptr::null(), ptr::null(), 0);
        let mut index = 0;
        while rd::rd_kafka_header_get_all(list, index, &mut name, &mut value, &mut len)
            == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            let name = CStr::from_ptr(name).to_string_lossy().into_owned();
            headers.push(name, bytes_at(value, len).map(Bytes::copy_from_slice));
            index += 1;
        }
    }
    headers
}

/// A topic to write to, looked up once.
pub(super) struct TopicHandle<C: ProducerContext<DeliveryOpaque = Arc<Delivery>> + 'static> {
    topic: *mut rd::rd_kafka_topic_t,
    producer: Arc<ThreadedProducer<C>>,
}

// SAFETY: librdkafka's topic handles may be used from any thread.
unsafe impl<C: ProducerContext<DeliveryOpaque = Arc<Delivery>>> Send for TopicHandle<C> {}
// SAFETY: as above.
unsafe impl<C: ProducerContext<DeliveryOpaque = Arc<Delivery>>> Sync for TopicHandle<C> {}

impl<C: ProducerContext<DeliveryOpaque = Arc<Delivery>> + 'static> TopicHandle<C> {
    /// `Err` for a name that no topic can have.
    pub(super) fn open(producer: &Arc<ThreadedProducer<C>>, name: &str) -> Result<Self, RDKafkaErrorCode> {
        let name = CString::new(name).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
        // SAFETY: the handle lives as long as `producer`, which is kept; without settings the producer's own hold.
        let topic = unsafe { rd::rd_kafka_topic_new(producer.client().native_ptr(), name.as_ptr(), ptr::null_mut()) };
        if topic.is_null() {
            // SAFETY: reads a thread-local.
            return Err(unsafe { rd::rd_kafka_last_error() }.into());
        }
        Ok(Self { topic, producer: producer.clone() })
    }

    /// Copies a message into the producer's buffer. `delivery` comes back in the producer's context.
    pub(super) fn send(&self, message: &Outgoing<'_>, delivery: Arc<Delivery>) -> Result<(), RDKafkaErrorCode> {
        let opaque = Arc::into_raw(delivery).cast_mut().cast::<c_void>();
        let error = if message.headers.is_empty() && message.timestamp.is_none() {
            self.produce(message, opaque)
        } else {
            self.produce_in_full(message, opaque)
        };
        if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        // SAFETY: refused, so there will be no report that takes this count back.
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
        // SAFETY: the arguments are pairs of a tag and what librdkafka's manual says belongs to it, closed by the end
        // tag; bytes are copied before the call returns, and it owns the headers unless it refuses.
        unsafe {
            let headers = native_headers(&message.headers);
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
        // SAFETY: created by us, destroyed once, before the producer that is still held.
        unsafe { rd::rd_kafka_topic_destroy(self.topic) }
    }
}

fn raw(bytes: Option<&[u8]>) -> (*mut c_void, usize) {
    bytes.map_or((ptr::null_mut(), 0), |bytes| (bytes.as_ptr().cast_mut().cast(), bytes.len()))
}

// A list that the caller must destroy or give away; null when there are none.
fn native_headers(headers: &Headers) -> *mut rd::rd_kafka_headers_t {
    if headers.is_empty() {
        return ptr::null_mut();
    }
    // SAFETY: names and values are copied into a list that is ours.
    unsafe {
        let list = rd::rd_kafka_headers_new(headers.len());
        for (name, value) in headers.iter() {
            let (bytes, len) = raw(value);
            rd::rd_kafka_header_add(list, name.as_ptr().cast(), name.len().cast_signed(), bytes, len.cast_signed());
        }
        list
    }
}

/// Sends what is buffered now and waits for its reports; rdkafka's own flush takes at least 100 ms. Whether all is out.
pub(super) fn flush<C: ProducerContext + 'static>(producer: &ThreadedProducer<C>, within: Duration) -> bool {
    let within = c_int::try_from(within.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: the handle is valid for as long as `producer` is borrowed.
    let error = unsafe { rd::rd_kafka_flush(producer.client().native_ptr(), within) };
    error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// One row of an answer about partitions.
pub(super) struct PartitionAnswer {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// What was committed or looked up, if anything was.
    pub(super) committed: Option<Committed>,
    pub(super) error: RDKafkaErrorCode,
}

impl fmt::Debug for PartitionAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}] {:?} {}", self.topic, self.partition, self.committed, self.error)
    }
}

/// The rows of a list; metadata that is not UTF-8 is shown as well as it can be.
pub(super) fn answers(list: &TopicPartitionList) -> Vec<PartitionAnswer> {
    // SAFETY: the list is valid while borrowed, its array as long as `cnt` says; topics end with a NUL, metadata is
    // null or as long as said.
    unsafe {
        let list = &*list.ptr();
        let count = usize::try_from(list.cnt).unwrap_or(0);
        let rows = if count == 0 { &[] } else { std::slice::from_raw_parts(list.elems.cast_const(), count) };
        let row = |row: &rd::rd_kafka_topic_partition_t| PartitionAnswer {
            topic: CStr::from_ptr(row.topic).to_string_lossy().into_owned(),
            partition: row.partition,
            committed: (row.offset >= 0).then(|| Committed {
                offset: row.offset,
                metadata: String::from_utf8_lossy(bytes_at(row.metadata, row.metadata_size).unwrap_or_default())
                    .into_owned(),
            }),
            error: row.err.into(),
        };
        rows.iter().map(row).collect()
    }
}
