//! The logs to which the positions of a run belong, and the check of those that were empty when it started.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::TransportError;
use crate::message::Offset;
use crate::offsets::LogId;
use crate::transport::Transport;

/// The log to which the positions of a stage in a topic belong.
#[derive(Clone, Debug)]
pub(super) enum InputLog {
    Unknown,
    Known(LogId),
    /// It had no message when the run started. The topic may be replaced without a trace before its first message is read, which
    /// is no loss: so the positions belong to this log only if the topic has the same id later.
    Empty(Arc<EmptyLog>),
}

/// A log without messages.
#[derive(Debug)]
pub(super) struct EmptyLog {
    topic: Arc<str>,
    id: LogId,
    state: AtomicU8,
}

/// No message was read.
const UNREAD: u8 = 0;
/// A message was read: the topic's id is to be looked up again.
const READ: u8 = 1;
/// The topic has the same id after the first message.
const CONFIRMED: u8 = 2;

impl InputLog {
    pub(super) fn new(topic: &Arc<str>, id: Option<LogId>, is_empty: bool) -> Self {
        match id {
            None => Self::Unknown,
            Some(id) if is_empty => {
                Self::Empty(Arc::new(EmptyLog { topic: Arc::clone(topic), id, state: AtomicU8::new(UNREAD) }))
            }
            Some(id) => Self::Known(id),
        }
    }

    /// Returns the id to commit with a position, if it is known.
    pub(super) fn id(&self) -> Option<LogId> {
        match self {
            Self::Unknown => None,
            Self::Known(id) => Some(*id),
            Self::Empty(log) => (log.state.load(Ordering::Relaxed) == CONFIRMED).then_some(log.id),
        }
    }
}

impl PartialEq for InputLog {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unknown, Self::Unknown) => true,
            (Self::Known(one), Self::Known(other)) => one == other,
            (Self::Empty(one), Self::Empty(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for InputLog {}

/// The logs of a worker's tasks of which the first message was read since the last check.
#[derive(Debug, Default)]
pub(crate) struct BegunLogs(Mutex<Vec<Arc<EmptyLog>>>);

impl BegunLogs {
    /// Notes a position. A log is checked once it has been read.
    pub(super) fn note(&self, log: &InputLog, next: Offset) {
        if let InputLog::Empty(log) = log
            && next > Offset(0)
            && log.state.compare_exchange(UNREAD, READ, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.logs().push(Arc::clone(log));
        }
    }

    /// Looks up the ids of the noted logs in one request. A log whose topic has another one stays unknown.
    ///
    /// # Errors
    /// The look-up failed; the next one includes these logs.
    pub(crate) async fn check(&self, transport: &dyn Transport) -> Result<(), TransportError> {
        let noted = self.logs().clone();
        if noted.is_empty() {
            return Ok(());
        }
        let topics: BTreeSet<_> = noted.iter().map(|log| log.topic.to_string()).collect();
        let ids = transport.admin()?.topic_ids(topics.into_iter().collect()).await?;
        for log in &noted {
            if ids.get(&*log.topic).and_then(|id| LogId::of(id)) == Some(log.id) {
                log.state.store(CONFIRMED, Ordering::Relaxed);
            }
        }
        self.logs().retain(|log| !noted.iter().any(|noted| Arc::ptr_eq(noted, log)));
        Ok(())
    }

    fn logs(&self) -> std::sync::MutexGuard<'_, Vec<Arc<EmptyLog>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
