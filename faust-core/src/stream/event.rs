//! An event: a decoded message with its key, headers, time and place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::origin::StreamOrigin;
use crate::message::{Headers, RawKey};
use crate::offsets::Position;
use crate::stage::context::StageMode;
use crate::stage::running::RunningStage;
use crate::time::Timestamp;

/// What travels through the operators.
#[derive(Debug)]
pub(crate) struct Item<V, K> {
    pub(crate) value: V,
    pub(crate) key: K,
    pub(crate) meta: Meta,
}

/// What operators leave as it is.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    pub(crate) offset: i64,
    pub(crate) timestamp: Timestamp,
    /// Which of the stage's inputs.
    pub(crate) input: u32,
    pub(crate) headers: Headers,
}

impl Meta {
    /// Returns the position of the event in its stage.
    pub(crate) fn at(&self) -> Position {
        Position { input: self.input, offset: self.offset }
    }
}

/// A value of a stream together with the message it came in.
#[derive(Debug)]
pub struct Event<V, K = RawKey> {
    item: Item<V, K>,
    stage: Option<Arc<RunningStage>>,
    /// Set where the ack is the user's to give: whether it has come.
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

    /// The decoded value.
    pub fn value(&self) -> &V {
        &self.item.value
    }

    /// The decoded value, without the event.
    pub fn into_value(self) -> V {
        self.item.value
    }

    /// The key it came with, or the one that `group_by` gave it.
    pub fn key(&self) -> &K {
        &self.item.key
    }

    /// Its headers, in order.
    pub fn headers(&self) -> &Headers {
        &self.item.meta.headers
    }

    /// Its time: the record's `timestamp` field if it has one, else the message's.
    pub fn timestamp(&self) -> Timestamp {
        self.item.meta.timestamp
    }

    /// The topic it was read from; empty for a stream made by a test.
    pub fn topic(&self) -> &str {
        self.place().map_or("", |place| &place.topic)
    }

    /// The partition it was read from.
    pub fn partition(&self) -> i32 {
        self.place().map_or(0, |place| place.partition)
    }

    /// Its offset in that partition.
    pub fn offset(&self) -> i64 {
        self.item.meta.offset
    }

    /// Says that it is done. Only events of [`events`](super::Stream::events) need it; a second ack does nothing.
    ///
    /// Events may be acked in any order: the committed offset stays at the first that is not.
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
