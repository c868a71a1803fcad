//! The history of a test: the latest things that have happened in the cluster and in the stages of its workers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::message::Offset;
use crate::stage::observer::{KeyWindow, StageEvent, StageObserver};
use crate::time::Timestamp;
use crate::transport::TopicPartition;
use crate::transport::memory::{ClusterObserver, StoredMessage};

/// Name of the client that is the test itself.
pub(super) const TEST: &str = "test";

/// Number of happenings that a history keeps, unless the test sets another.
const DEFAULT_LIMIT: usize = 60;

/// The latest happenings of a test.
pub(super) struct History {
    state: Mutex<Recent>,
}

struct Recent {
    limit: usize,
    /// Topics of the app itself, whose messages would hide those of the test.
    hidden: BTreeSet<String>,
    happenings: VecDeque<Happening>,
    total: u64,
}

/// One thing that has happened.
#[derive(Clone, Debug)]
pub(super) struct Happening {
    /// The driver's time.
    pub(super) now: Timestamp,
    /// The worker, or [`TEST`].
    pub(super) client: Arc<str>,
    pub(super) what: What,
}

/// The kinds of happenings.
#[derive(Clone, Debug)]
pub(super) enum What {
    Stored(StoredMessage),
    Begun {
        event: StageEvent,
        time: Timestamp,
        stream_time: Option<Timestamp>,
        windows: Vec<Entered>,
    },
    Closed {
        agent: Arc<str>,
        window: KeyWindow,
    },
    Failed {
        agent: String,
        place: String,
        what: String,
    },
    Committed(BTreeMap<TopicPartition, Offset>),
    CommitFailed(String),
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
    /// Something that the test has done to a worker.
    Done(&'static str),
}

/// A window that an event has changed, or was too late for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entered {
    pub(super) window: KeyWindow,
    pub(super) is_late: bool,
}

impl History {
    pub(super) fn new() -> Arc<Self> {
        let recent = Recent { limit: DEFAULT_LIMIT, hidden: BTreeSet::new(), happenings: VecDeque::new(), total: 0 };
        Arc::new(Self { state: Mutex::new(recent) })
    }

    /// Sets the number of happenings that are kept. With 0, none is recorded.
    pub(super) fn limit(&self, limit: usize) {
        let mut state = self.state();
        state.limit = limit;
        state.trim();
    }

    /// Leaves the messages of these topics out.
    pub(super) fn hide(&self, topics: impl Iterator<Item = String>) {
        let mut state = self.state();
        state.hidden.extend(topics);
        let Recent { hidden, happenings, total, .. } = &mut *state;
        let before = happenings.len();
        happenings.retain(|happening| match &happening.what {
            What::Stored(message) => !hidden.contains(&*message.partition.topic),
            _ => true,
        });
        *total -= (before - happenings.len()) as u64;
    }

    /// Adds a happening.
    pub(super) fn note(&self, client: &Arc<str>, what: What, now: Timestamp) {
        let mut state = self.state();
        if state.limit == 0 {
            return;
        }
        state.total += 1;
        state.happenings.push_back(Happening { now, client: Arc::clone(client), what });
        state.trim();
    }

    /// Returns the happenings that are kept, and the number of all.
    pub(super) fn recent(&self) -> (Vec<Happening>, u64) {
        let state = self.state();
        (state.happenings.iter().cloned().collect(), state.total)
    }

    /// Adds a window to the latest happening in which the client's stage has come to this event.
    fn enter(&self, client: &Arc<str>, event: &StageEvent, entered: Entered) {
        let mut state = self.state();
        let windows = state.happenings.iter_mut().rev().find_map(|happening| match &mut happening.what {
            What::Begun { event: begun, windows, .. } if begun == event && happening.client == *client => Some(windows),
            _ => None,
        });
        if let Some(windows) = windows.filter(|windows| !windows.contains(&entered)) {
            windows.push(entered);
        }
    }

    fn state(&self) -> MutexGuard<'_, Recent> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn trim(&mut self) {
        let excess = self.happenings.len().saturating_sub(self.limit);
        self.happenings.drain(..excess);
    }
}

impl ClusterObserver for History {
    fn stored(&self, client: &Arc<str>, message: StoredMessage, now: Timestamp) {
        let is_hidden = self.state().hidden.contains(&*message.partition.topic);
        if !is_hidden {
            self.note(client, What::Stored(message), now);
        }
    }

    fn committed(&self, client: &Arc<str>, offsets: BTreeMap<TopicPartition, Offset>, now: Timestamp) {
        self.note(client, What::Committed(offsets), now);
    }

    fn commit_failed(&self, client: &Arc<str>, why: String, now: Timestamp) {
        self.note(client, What::CommitFailed(why), now);
    }

    fn assigned(&self, client: &Arc<str>, partitions: Vec<TopicPartition>, now: Timestamp) {
        self.note(client, What::Assigned(partitions), now);
    }

    fn revoked(&self, client: &Arc<str>, partitions: Vec<TopicPartition>, now: Timestamp) {
        self.note(client, What::Revoked(partitions), now);
    }
}

/// The observer of the stages of one worker.
pub(super) struct WorkerObserver {
    pub(super) history: Arc<History>,
    pub(super) worker: Arc<str>,
}

impl StageObserver for WorkerObserver {
    fn begun(&self, event: StageEvent, time: Timestamp, stream_time: Option<Timestamp>, now: Timestamp) {
        self.history.note(&self.worker, What::Begun { event, time, stream_time, windows: Vec::new() }, now);
    }

    fn entered(&self, event: StageEvent, window: KeyWindow, is_late: bool) {
        self.history.enter(&self.worker, &event, Entered { window, is_late });
    }

    fn closed(&self, agent: &Arc<str>, window: KeyWindow, now: Timestamp) {
        self.history.note(&self.worker, What::Closed { agent: Arc::clone(agent), window }, now);
    }

    fn failed(&self, agent: &str, place: &str, what: &str, now: Timestamp) {
        let [agent, place, what] = [agent, place, what].map(str::to_owned);
        self.history.note(&self.worker, What::Failed { agent, place, what }, now);
    }
}
