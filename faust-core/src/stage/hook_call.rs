//! A call of a hook: its kind, its arguments, and the function that takes them.

use std::sync::Arc;

use super::future::AgentFuture;
use crate::time::Timestamp;
use crate::window::Window;

/// What a hook is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// A window has expired.
    Close,
    /// An event has come for a window that has expired.
    Late,
}

/// A hook with its injected arguments, to be called as often as need be.
pub type HookFn = Arc<dyn Fn(HookCall) -> AgentFuture + Send + Sync>;

/// One call; keys and values are as the table's codecs wrote them.
#[derive(Clone, Debug)]
pub enum HookCall {
    /// For [`HookKind::Close`].
    Close {
        /// The key.
        key: Vec<u8>,
        /// The window that has expired.
        window: Window,
        /// The key's last value in it.
        value: Vec<u8>,
    },
    /// For [`HookKind::Late`].
    Late {
        /// The key.
        key: Vec<u8>,
        /// The window that had expired.
        window: Window,
        /// What came late.
        event: LateEvent,
    },
}

/// An event that came when its window had expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateEvent {
    pub(crate) timestamp: Timestamp,
    pub(crate) stream_time: Timestamp,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

impl LateEvent {
    /// An event of that time, of no topic: for calling a hook in a unit test.
    pub fn new(timestamp: Timestamp, stream_time: Timestamp) -> Self {
        Self { timestamp, stream_time, topic: Arc::from(""), partition: 0, offset: 0 }
    }

    /// The event's own time.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// How far the stream's time had come: the largest time of an event before.
    pub fn stream_time(&self) -> Timestamp {
        self.stream_time
    }

    /// The topic it came from.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Its partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Its offset.
    pub fn offset(&self) -> i64 {
        self.offset
    }
}
