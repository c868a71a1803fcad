//! A consumer that can end like a crashed process.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

/// A consumer that can end like a crashed process: without telling the group.
pub(crate) struct Member<C: ConsumerContext + 'static> {
    consumer: ManuallyDrop<BaseConsumer<C>>,
    abandoned: AtomicBool,
}

impl<C: ConsumerContext + 'static> Member<C> {
    pub(crate) fn new(consumer: BaseConsumer<C>) -> Self {
        Self { consumer: ManuallyDrop::new(consumer), abandoned: AtomicBool::new(false) }
    }

    pub(crate) fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    /// When it is dropped, no request is made to the group: for a crash, and for a coordinator that is away, where
    /// librdkafka 2.12.1 can crash on leaving.
    pub(crate) fn abandon(&self) {
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
