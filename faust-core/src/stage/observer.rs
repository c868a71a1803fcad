//! The port through which the test driver follows the stages of its workers.

use std::sync::Arc;

use crate::message::Offset;
use crate::time::Timestamp;
use crate::transport::TopicPartition;
use crate::window::Window;

/// An observer of the stages of a worker. Only the test driver sets one.
pub(crate) trait StageObserver: Send + Sync {
    /// Reports that a stage has come to an event, with its stream time after that.
    fn begun(&self, event: StageEvent, time: Timestamp, stream_time: Option<Timestamp>, now: Timestamp);

    /// Reports that an event changes a window, or is too late for it.
    fn entered(&self, event: StageEvent, window: KeyWindow, is_late: bool);

    /// Reports that a stage closes a window.
    fn closed(&self, agent: &Arc<str>, window: KeyWindow, now: Timestamp);

    /// Reports that an agent has failed at a place.
    fn failed(&self, agent: &str, place: &str, what: &str, now: Timestamp);
}

/// An event, as a stage processes it.
#[cfg_attr(not(feature = "testing"), allow(dead_code, reason = "the test driver reads the fields"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StageEvent {
    pub(crate) agent: Arc<str>,
    pub(crate) partition: TopicPartition,
    pub(crate) offset: Offset,
}

/// A window of a key in a table.
#[cfg_attr(not(feature = "testing"), allow(dead_code, reason = "the test driver reads the fields"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyWindow {
    pub(crate) table: Arc<str>,
    /// The encoded key.
    pub(crate) key: Vec<u8>,
    pub(crate) window: Window,
}
