//! A consumer that can end like a crashed process.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

/// A consumer that can be destroyed as if its process had crashed, without leaving the group.
pub(crate) struct GroupConsumer<C: ConsumerContext + 'static> {
    consumer: ManuallyDrop<BaseConsumer<C>>,
    abandoned: AtomicBool,
}

impl<C: ConsumerContext + 'static> GroupConsumer<C> {
    pub(crate) fn new(consumer: BaseConsumer<C>) -> Self {
        Self { consumer: ManuallyDrop::new(consumer), abandoned: AtomicBool::new(false) }
    }

    pub(crate) fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    /// Makes the drop send no request to the group. This simulates a crash, and avoids a crash of librdkafka 2.12.1,
    /// which can happen when it leaves a group whose coordinator is unavailable.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

impl<C: ConsumerContext + 'static> Drop for GroupConsumer<C> {
    fn drop(&mut self) {
        if self.abandoned.load(Ordering::Relaxed) {
            let context = Arc::as_ptr(self.consumer.context());
            // SAFETY: the consumer is not dropped and never used again, so its handle is destroyed once, here; every
            // `PartitionReader` holds an `Arc` of this member, so none outlives the handle. The forgotten consumer's
            // reference to the context is released only after the last callback can have run.
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
