//! Ownership of librdkafka's objects, and waiting for the results of its asynchronous requests.

use std::ffi::c_int;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

/// Additional time to wait in case librdkafka does not return within its own timeout.
const SLACK: Duration = Duration::from_secs(1);

/// A pointer with the function that destroys its target on drop, unless the pointer is null.
pub(super) struct NativeHandle<T>(pub(super) *mut T, pub(super) unsafe extern "C" fn(*mut T));

impl<T> Drop for NativeHandle<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: created by librdkafka for this module, destroyed once by the function that belongs to it.
            unsafe { (self.1)(self.0) }
        }
    }
}

/// The queue for the result of one request.
pub(super) struct ResultQueue(NativeHandle<rd::rd_kafka_queue_t>);

impl ResultQueue {
    /// Creates a queue.
    ///
    /// # Safety
    /// `client` must be valid, and outlive the queue.
    pub(super) unsafe fn new(client: *mut rd::rd_kafka_t) -> Self {
        // SAFETY: as promised by the caller.
        Self(NativeHandle(unsafe { rd::rd_kafka_queue_new(client) }, rd::rd_kafka_queue_destroy))
    }

    pub(super) fn native(&self) -> *mut rd::rd_kafka_queue_t {
        self.0.0
    }

    /// Waits for the result. Blocks for `within` and a second at most.
    pub(super) fn result(&self, within: Duration) -> Result<NativeHandle<rd::rd_kafka_event_t>, RDKafkaErrorCode> {
        // SAFETY: the queue is valid; the event is owned by the handle, and destroyed before the queue by its borrower.
        unsafe {
            let within = millis(within + SLACK);
            let event = NativeHandle(rd::rd_kafka_queue_poll(self.0.0, within), rd::rd_kafka_event_destroy);
            if event.0.is_null() {
                return Err(RDKafkaErrorCode::OperationTimedOut);
            }
            match rd::rd_kafka_event_error(event.0) {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(event),
                error => Err(error.into()),
            }
        }
    }
}

/// Converts a duration to librdkafka's milliseconds.
pub(super) fn millis(duration: Duration) -> c_int {
    c_int::try_from(duration.as_millis()).unwrap_or(c_int::MAX)
}
