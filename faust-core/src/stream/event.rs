//! An event: a decoded message with its key, headers, timestamp and position.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::origin::StreamOrigin;
use crate::message::{Headers, Offset, RawKey};
use crate::offsets::Position;
use crate::stage::context::StageMode;
use crate::stage::running::RunningStage;
use crate::time::Timestamp;

/// A value on its way through the operators.
#[derive(Debug)]
pub(crate) struct Item<V, K> {
    pub(crate) value: V,
    pub(crate) key: K,
    pub(crate) meta: Meta,
}

/// The metadata of an item, which operators do not change.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    pub(crate) offset: Offset,
    pub(crate) timestamp: Timestamp,
    /// Index among the stage's inputs.
    pub(crate) input: u32,
    pub(crate) headers: Headers,
}

impl Meta {
    /// Returns the position of the event in its stage.
    pub(crate) fn at(&self) -> Position {
        Position { input: self.input, offset: self.offset }
    }
}

/// A value of a stream, with the metadata of the message it was decoded from.
#[derive(Debug)]
pub struct Event<V, K = RawKey> {
    item: Item<V, K>,
    stage: Option<Arc<RunningStage>>,
    /// Set for events with explicit acks: `true` once the event has been acked.
    acked: Option<AtomicBool>,
}

impl<V, K> Event<V, K> {
    pub(crate) fn new(item: Item<V, K>, origin: &StreamOrigin, explicit_ack: bool) -> Self {
        let stage = match origin {
            StreamOrigin::Agent(StageMode::Live(stage)) => Some(Arc::clone(stage)),
            _ => None,
        };
        Self { item, stage, acked: explicit_ack.then(AtomicBool::default) }
    }

    /// Returns the decoded value.
    pub fn value(&self) -> &V {
        &self.item.value
    }

    /// Consumes the event and returns the decoded value.
    pub fn into_value(self) -> V {
        self.item.value
    }

    /// Returns the key of the message, or the one that `group_by` computed.
    pub fn key(&self) -> &K {
        &self.item.key
    }

    /// Returns the headers, in order.
    pub fn headers(&self) -> &Headers {
        &self.item.meta.headers
    }

    /// Returns the timestamp: the record's `timestamp` field if it has one, otherwise the message's timestamp. It stays
    /// the same behind a `group_by` or `through`.
    pub fn timestamp(&self) -> Timestamp {
        self.item.meta.timestamp
    }

    /// Returns the topic the event was read from. It is empty for a stream created by a test.
    pub fn topic(&self) -> &str {
        self.place().map_or("", |place| &place.topic)
    }

    /// Returns the partition the event was read from.
    pub fn partition(&self) -> i32 {
        self.place().map_or(0, |place| place.partition)
    }

    /// Returns the event's offset in that partition.
    pub fn offset(&self) -> Offset {
        self.item.meta.offset
    }

    /// Marks the event as finished. Only events of [`events`](super::Stream::events) need it; repeated acks have no
    /// effect.
    ///
    /// Events may be acked in any order: the committed offset stays at the first event that is not acked.
    pub fn ack(&self) {
        let (Some(stage), Some(acked)) = (&self.stage, &self.acked) else { return };
        if !acked.swap(true, Ordering::AcqRel) {
            stage.cursor.take_back(self.item.meta.at());
        }
    }

    pub(crate) fn at(&self) -> Position {
        self.item.meta.at()
    }

    fn place(&self) -> Option<&crate::transport::TopicPartition> {
        self.stage.as_ref()?.inputs.get(self.item.meta.input as usize).map(|input| input.reader.partition())
    }
}
