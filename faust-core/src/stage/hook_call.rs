//! A call of a hook: its kind, its arguments, and the function that takes them.

use std::sync::Arc;

use super::future::AgentFuture;
use crate::message::Offset;
use crate::time::Timestamp;
use crate::window::Window;

/// The kind of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// A window has expired.
    Close,
    /// An event has arrived for a window that has expired.
    Late,
}

/// A hook with its injected arguments, which may be called any number of times.
pub type HookFn = Arc<dyn Fn(HookCall) -> AgentFuture + Send + Sync>;

/// The arguments of one call of a hook. Keys and values are encoded by the table's codecs.
#[derive(Clone, Debug)]
pub enum HookCall {
    /// A call of a hook of kind [`HookKind::Close`].
    Close {
        /// The key.
        key: Vec<u8>,
        /// The window that has expired.
        window: Window,
        /// The key's last value in that window.
        value: Vec<u8>,
    },
    /// A call of a hook of kind [`HookKind::Late`].
    Late {
        /// The key.
        key: Vec<u8>,
        /// The window that had expired.
        window: Window,
        /// The late event.
        event: LateEvent,
    },
}

/// An event that arrived after its window had expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateEvent {
    pub(crate) timestamp: Timestamp,
    pub(crate) stream_time: Timestamp,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) offset: Offset,
}

impl LateEvent {
    /// Creates an event without a topic, for calling a hook in a unit test.
    pub fn new(timestamp: Timestamp, stream_time: Timestamp) -> Self {
        Self { timestamp, stream_time, topic: Arc::from(""), partition: 0, offset: Offset(0) }
    }

    /// Returns the event's timestamp.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// Returns the stream time at the event's arrival: the largest timestamp of the events before it.
    pub fn stream_time(&self) -> Timestamp {
        self.stream_time
    }

    /// Returns the topic the event was read from.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Returns the partition the event was read from.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Returns the event's offset in that partition.
    pub fn offset(&self) -> Offset {
        self.offset
    }
}
