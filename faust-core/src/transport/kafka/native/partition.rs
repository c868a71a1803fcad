//! Reads one partition's queue, many messages a call.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ops::Range;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use rdkafka::bindings as rd;
use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::member::GroupConsumer;
use crate::message::{Headers, Offset, RawMessage};
use crate::transport::port::stored_timestamp;

/// Maximum number of messages taken from a queue per call. Values from 16 to 512 measured equally fast.
pub(crate) const BATCH: usize = 128;

/// The queue of one partition, split from the consumer's queue.
///
/// IMPORTANT: librdkafka has one queue for a partition, whatever the number of its assignments. A reader has to be closed before
/// the partition is assigned again: the end of a former one would take the callback from its successor, and a read by the former
/// one its messages.
pub(crate) struct PartitionReader {
    /// `None` once the reader is closed.
    queue: Mutex<Option<SplitQueue>>,
    // Boxed because librdkafka's callback keeps its address, and dropped after the queue.
    waker: Box<AtomicWaker>,
    reading: ReadState,
    topic: CString,
    partition: i32,
    /// Valid while the consumer is held.
    client: *mut rd::rd_kafka_t,
    _consumer: Arc<dyn Send + Sync>,
}

// SAFETY: librdkafka's queues and clients may be used from any thread; the rest is Send and Sync.
unsafe impl Send for PartitionReader {}

// SAFETY: as above.
unsafe impl Sync for PartitionReader {}

/// The way a queue is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadState {
    /// Many messages per call. After a partition end or an error within a batch, librdkafka 2.12.1's own position is
    /// one too high (fixed in 2.13.2). This matters only where librdkafka itself pauses partitions.
    Batches,
    /// One message per call, for partitions that stay assigned during a rebalance, in which librdkafka pauses them.
    Singly,
}

/// An item of a partition's queue.
pub(crate) enum Fetched<'a> {
    Message(RawMessage<'a>),
    /// The partition's end: the offset after everything that can be read.
    End(Offset),
    Failed(RDKafkaErrorCode),
}

impl PartitionReader {
    /// Splits the queue of an assigned partition from the consumer's queue. Returns `None` if the topic's name contains
    /// a NUL.
    pub(crate) fn split<C: ConsumerContext + 'static>(
        member: &Arc<GroupConsumer<C>>,
        topic: &str,
        partition: i32,
        reading: ReadState,
    ) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        let client = member.consumer().client().native_ptr();
        // SAFETY: the handle lives as long as `member`, which the reader holds; the topic's name outlives the call.
        let queue = unsafe { rd::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition) };
        if queue.is_null() {
            return None;
        }
        let waker = Box::new(AtomicWaker::new());
        // SAFETY: `queue` is valid; the waker's address stays valid until `drop` has disabled the callback.
        unsafe {
            rd::rd_kafka_queue_forward(queue, ptr::null_mut());
            rd::rd_kafka_queue_cb_event_enable(queue, Some(nonempty), ptr::from_ref(&*waker).cast_mut().cast());
        }
        Some(Self {
            queue: Mutex::new(Some(SplitQueue(queue))),
            waker,
            reading,
            topic,
            partition,
            client,
            _consumer: Arc::<GroupConsumer<C>>::clone(member),
        })
    }

    /// Ends the reading, after a read in progress. Further reads return nothing. IMPORTANT: only after the unassignment: without its
    /// queue, the partition would be stranded.
    pub(crate) fn close(&self) {
        drop(self.queue().take());
    }

    /// Calls `f` unless the reader is closed, which waits for it.
    pub(crate) fn while_open<T>(&self, f: impl FnOnce() -> T) -> Option<T> {
        let held = self.queue();
        held.is_some().then(f)
    }

    fn queue(&self) -> MutexGuard<'_, Option<SplitQueue>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the available items from the queue, at most `max` and at most [`BATCH`].
    pub(crate) fn read(&self, max: usize) -> Batch {
        let mut batch = Batch { messages: [ptr::null_mut(); BATCH], next: 0, len: 0 };
        let max = max.min(BATCH);
        let held = self.queue();
        let Some(SplitQueue(queue)) = *held else { return batch };
        match self.reading {
            ReadState::Batches => {
                let first = batch.messages.as_mut_ptr();
                // SAFETY: the queue is valid, and the array has room for `max` messages.
                let got = unsafe { rd::rd_kafka_consume_batch_queue(queue, 0, first, max) };
                batch.len = usize::try_from(got).unwrap_or(0);
            }
            ReadState::Singly => {
                while batch.len < max {
                    // SAFETY: the queue is valid.
                    let message = unsafe { rd::rd_kafka_consume_queue(queue, 0) };
                    if message.is_null() {
                        break;
                    }
                    batch.messages[batch.len] = message;
                    batch.len += 1;
                }
            }
        }
        batch
    }

    /// Returns the log start offset and the high watermark of the last response to a fetch; `None` before the first
    /// response. The high watermark is above the partition's end while a transaction is open.
    pub(crate) fn watermarks(&self) -> Option<(Offset, Offset)> {
        let (mut low, mut high) = (0, 0);
        // SAFETY: the client is valid while the consumer is held, and the name outlives the call, which only reads
        // numbers that the client has in memory.
        let error = unsafe {
            rd::rd_kafka_get_watermark_offsets(self.client, self.topic.as_ptr(), self.partition, &mut low, &mut high)
        };
        (error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some((Offset(low), Offset(high)))
    }

    /// Registers a waker that is woken when the queue turns from empty to non-empty. The queue must be read again after
    /// this call.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Wakes the registered waker as if a message had arrived.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }
}

/// librdkafka's handle of a partition's queue.
struct SplitQueue(*mut rd::rd_kafka_queue_t);

impl Drop for SplitQueue {
    fn drop(&mut self) {
        // SAFETY: disabling the callback takes the queue's lock, under which librdkafka calls it, so the callback
        // cannot run when the waker is dropped. The queue is destroyed once, before the consumer, which is still held.
        unsafe {
            rd::rd_kafka_queue_cb_event_enable(self.0, None, ptr::null_mut());
            rd::rd_kafka_queue_destroy(self.0);
        }
    }
}

unsafe extern "C" fn nonempty(_: *mut rd::rd_kafka_t, waker: *mut c_void) {
    // SAFETY: `split` passed the address of a waker that lives until the callback is disabled.
    unsafe { (*waker.cast_const().cast::<AtomicWaker>()).wake() }
}

/// Items taken from a queue. Dropping the batch frees those that were not passed on.
pub(crate) struct Batch {
    messages: [*mut rd::rd_kafka_message_t; BATCH],
    next: usize,
    len: usize,
}

impl Batch {
    /// Returns the ranges of offsets from `next` on without messages, up to the first error.
    ///
    /// In the loop that passes the messages on, this would cost 27 instructions per message instead of 6.
    pub(crate) fn gaps(&self, mut next: Offset) -> Vec<Range<Offset>> {
        let mut gaps = Vec::new();
        for message in &self.messages[self.next..self.len] {
            // SAFETY: messages are valid until they are popped.
            let message = unsafe { &**message };
            let offset = Offset(message.offset);
            let after = match message.err {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => offset.next(),
                RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => offset,
                _ => break,
            };
            if offset > next {
                gaps.push(next..offset);
            }
            next = after;
        }
        gaps
    }

    /// Passes the items to `each`.
    pub(crate) fn pass(mut self, each: &mut dyn FnMut(Fetched<'_>)) {
        while let Some(message) = self.pop() {
            each(message.view());
        }
    }

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
        // SAFETY: the message is valid until `drop`; key and payload are null or have the given lengths.
        let message = unsafe { &*self.0 };
        match message.err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                return Fetched::End(Offset(message.offset));
            }
            error => return Fetched::Failed(error.into()),
        }
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: as above.
        unsafe {
            Fetched::Message(RawMessage {
                offset: Offset(message.offset),
                timestamp: stored_timestamp(rd::rd_kafka_message_timestamp(self.0, &mut kind)),
                key: bytes_at(message.key, message.key_len),
                payload: bytes_at(message.payload, message.len),
                headers: headers_of(self.0),
            })
        }
    }
}

impl Drop for NativeMessage {
    fn drop(&mut self) {
        // SAFETY: the message was taken from the queue by this module and is destroyed once.
        unsafe { rd::rd_kafka_message_destroy(self.0) }
    }
}

/// Returns the bytes at `pointer`, or `None` if it is null.
///
/// # Safety
/// `pointer` must be null or point to `len` bytes that are valid for `'a`.
pub(super) unsafe fn bytes_at<'a>(pointer: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: as promised by the caller.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer.cast(), len) })
}

/// Copies the headers of a message.
///
/// # Safety
/// `message` must be valid.
unsafe fn headers_of(message: *const rd::rd_kafka_message_t) -> Headers {
    let mut headers = Headers::new();
    let mut list = ptr::null_mut();
    // SAFETY: the message is valid and owns the list; its names end with a NUL, its values have the given lengths.
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
