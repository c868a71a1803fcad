//! A consumer that can end like a crashed process.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::types::{RDKafkaConfRes, RDKafkaErrorCode};

use crate::config::OffsetReset;

/// A consumer that can be destroyed as if its process had crashed, without leaving the group.
pub(crate) struct GroupConsumer<C: ConsumerContext + 'static> {
    consumer: ManuallyDrop<BaseConsumer<C>>,
    topics: Vec<ResetTopic>,
    abandoned: AtomicBool,
}

impl<C: ConsumerContext + 'static> GroupConsumer<C> {
    pub(crate) fn new(consumer: BaseConsumer<C>) -> Self {
        Self { consumer: ManuallyDrop::new(consumer), topics: Vec::new(), abandoned: AtomicBool::new(false) }
    }

    /// Like [`new`](Self::new), with a policy for each topic for the case that retention deletes messages before they
    /// are read. librdkafka logs this and resets the offset.
    ///
    /// A queue could not do so itself: a member that has stopped fetching a partition resumes only with the next
    /// assignment. The policy is a property of the topic's handle, which librdkafka looks up by name when the topic is
    /// assigned, so it has to be created before.
    pub(crate) fn resetting(
        consumer: BaseConsumer<C>,
        topics: impl FnOnce(&C) -> &BTreeMap<Arc<str>, OffsetReset>,
    ) -> Result<Self, RDKafkaErrorCode> {
        let mut member = Self::new(consumer);
        let consumer = &*member.consumer;
        let topics = topics(consumer.context()).iter();
        member.topics =
            topics.map(|(topic, reset)| ResetTopic::open(consumer, topic, *reset)).collect::<Result<_, _>>()?;
        Ok(member)
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
        self.topics.clear();
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

/// A consumer's handle to a topic with a policy of its own. Owned by a [`GroupConsumer`], which drops it first.
struct ResetTopic(*mut rd::rd_kafka_topic_t);

// SAFETY: librdkafka's topic handles may be used from any thread.
unsafe impl Send for ResetTopic {}

// SAFETY: as above.
unsafe impl Sync for ResetTopic {}

impl ResetTopic {
    fn open<C: ConsumerContext>(
        consumer: &BaseConsumer<C>,
        topic: &str,
        reset: OffsetReset,
    ) -> Result<Self, RDKafkaErrorCode> {
        let topic = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
        let value = match reset {
            OffsetReset::Earliest => c"earliest",
            OffsetReset::Latest => c"latest",
            OffsetReset::None => c"error",
        };
        // SAFETY: the client is valid while borrowed, and the strings outlive the calls. `rd_kafka_topic_new` takes
        // ownership of the configuration in every case.
        unsafe {
            let client = consumer.client().native_ptr();
            let conf = rd::rd_kafka_default_topic_conf_dup(client);
            let name = c"auto.offset.reset".as_ptr();
            let set = rd::rd_kafka_topic_conf_set(conf, name, value.as_ptr(), ptr::null_mut(), 0);
            if set != RDKafkaConfRes::RD_KAFKA_CONF_OK {
                rd::rd_kafka_topic_conf_destroy(conf);
                return Err(RDKafkaErrorCode::InvalidArgument);
            }
            let topic = rd::rd_kafka_topic_new(client, topic.as_ptr(), conf);
            if topic.is_null() { Err(rd::rd_kafka_last_error().into()) } else { Ok(Self(topic)) }
        }
    }
}

impl Drop for ResetTopic {
    fn drop(&mut self) {
        // SAFETY: created by this module, destroyed once, before the consumer.
        unsafe { rd::rd_kafka_topic_destroy(self.0) }
    }
}
