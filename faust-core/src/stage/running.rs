//! A running stage of a partition task: its inputs, its progress in them, and its outbox.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cursor::Cursor;
use super::given_up::GivenUp;
use super::hook_call::LateEvent;
use super::input::Input;
use super::observer::{KeyWindow, StageEvent, StageObserver};
use super::outbox::Outbox;
use super::tables::StageTables;
use crate::config::DecodePolicy;
use crate::error::Error;
use crate::offsets::Position;
use crate::table_state::ClosedWindow;
use crate::time::{Clock, Timestamp};
use crate::transport::Sender;
use crate::window::Window;

/// One running stage of one partition. The streams, topics and tables of its agent hold it.
pub(crate) struct RunningStage {
    /// Name of the agent it belongs to.
    pub(crate) agent: Arc<str>,
    /// Index of the agent's stream that it reads: 0 is the source, 1 the output of the first `group_by` or `through`.
    pub(crate) depth: usize,
    /// Partitions that it reads.
    pub(crate) inputs: Vec<Input>,
    /// Its progress in these partitions.
    pub(crate) cursor: Arc<Cursor>,
    /// Outbox for the messages it sends.
    pub(crate) outbox: Arc<Outbox>,
    /// Policy for messages that cannot be decoded.
    pub(crate) on_decode_error: DecodePolicy,
    /// Events that have failed too often. They are not processed.
    pub(crate) given_up: BTreeMap<Position, GivenUp>,
    /// Maximum number of events that may be handed out and not acked.
    pub(crate) buffer_maxsize: usize,
    /// Tables of the task, as this stage uses them.
    pub(crate) tables: StageTables,
    /// The wall clock.
    pub(crate) clock: Clock,
    /// Stream time that is not followed has been reported.
    pub(crate) has_reported_ahead: AtomicBool,
    /// The test driver's observer.
    pub(crate) observer: Option<Arc<dyn StageObserver>>,
}

impl RunningStage {
    /// Comes to an event, which the operators of the stream see before the agent.
    #[inline]
    pub(crate) fn reach(&self, at: Position) {
        self.cursor.progress.reach(at);
        self.note_sender(|| vec![at]);
    }

    /// Notes that these events send the messages that follow, if that is asked for.
    #[inline]
    fn note_sender(&self, events: impl FnOnce() -> Vec<Position>) {
        if let Some(stage) = self.cursor.gate.notes_senders() {
            self.note_senders(stage, events());
        }
    }

    #[cold]
    fn note_senders(&self, stage: usize, events: Vec<Position>) {
        self.outbox.note_sender(Sender { stage, events });
    }

    /// Enters an event: a cut waits until it is finished.
    pub(crate) fn begin(&self, at: Position, time: Timestamp) {
        if self.cursor.begin(time) {
            self.report_ahead(at, time);
        }
        if let Some(observer) = &self.observer {
            self.observe_event(&**observer, at, time);
        }
    }

    /// Moves to an event that is finished by its own `ack()`.
    pub(crate) fn pass(&self, at: Position, time: Timestamp) {
        if self.cursor.pass(time) {
            self.report_ahead(at, time);
        }
        if let Some(observer) = &self.observer {
            self.observe_event(&**observer, at, time);
        }
    }

    /// Enters a batch: a cut waits until it is finished.
    pub(crate) fn begin_batch(&self, batch: impl Iterator<Item = (Position, Timestamp)> + Clone) {
        if let Some(observer) = &self.observer {
            batch.clone().for_each(|(at, time)| self.observe_event(&**observer, at, time));
        }
        self.cursor.begin_batch(batch, |at, time| self.report_ahead(at, time));
        self.note_sender(|| self.cursor.progress.unfinished());
    }

    /// Counts an event that stream time does not follow, and warns of the first.
    #[cold]
    fn report_ahead(&self, at: Position, time: Timestamp) {
        self.outbox.stats.event_ahead();
        if !self.has_reported_ahead.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                agent = %self.agent,
                place = %self.place_of(at),
                "an event of time {time} is further ahead of the clock than `stream_time_max_ahead`: it is processed in its \
                 own windows, but stream time does not follow it. Check the clock of its producer and the unit of its time \
                 (integers are milliseconds), or raise `stream_time_max_ahead`. Others are only counted (`events_ahead`)"
            );
        }
    }

    /// Returns the position of the current event, `topic[partition] offset N`, for log lines and errors.
    pub(crate) fn place(&self) -> String {
        match self.cursor.progress.at() {
            Some(at) => self.place_of(at),
            None => match self.inputs.first() {
                Some(input) => format!("{}, before its first event", input.reader.partition()),
                None => "no partition".to_owned(),
            },
        }
    }

    /// Returns `true` if work for its tables is pending between events: windows are partly closed, or late events have
    /// not been reported.
    pub(crate) fn is_closing(&self) -> bool {
        self.cursor.gate.is_in_flight() || self.tables.has_late()
    }

    /// Fails the stage: its stream yields nothing more, and messages it sends from now on are rejected.
    pub(crate) fn fail(&self, error: Error) {
        self.outbox.refuse();
        self.cursor.fail(error);
    }

    /// Reports an event for a window that has expired, with the event's timestamp and the stream time. `at` is the
    /// input and offset of the event, if it is not the current one.
    pub(crate) fn late(
        &self,
        table: &str,
        key: &[u8],
        window: Window,
        (timestamp, stream_time): (Timestamp, Timestamp),
        at: Option<Position>,
    ) {
        self.outbox.stats.late_event();
        let at = at.or_else(|| self.cursor.progress.at());
        self.observe_window(table, (key, window), at, true);
        let partition = at.and_then(|at| self.inputs.get(at.input as usize)).map(|input| input.reader.partition());
        let event = LateEvent {
            timestamp,
            stream_time,
            topic: partition.map_or_else(|| Arc::from(""), |partition| Arc::clone(&partition.topic)),
            partition: partition.map_or(0, |partition| partition.partition),
            offset: at.map(|at| at.offset).unwrap_or_default(),
        };
        self.tables.note_late(table, key, window, event);
    }

    #[cold]
    fn observe_event(&self, observer: &dyn StageObserver, at: Position, time: Timestamp) {
        if let Some(event) = self.observed(at) {
            observer.begun(event, time, self.cursor.clock.stream_time(), self.clock.now());
        }
    }

    /// Reports to the observer that an event, by default the current one, changes a window or is too late for it.
    #[inline]
    pub(crate) fn observe_window(
        &self,
        table: &str,
        (key, window): (&[u8], Window),
        at: Option<Position>,
        is_late: bool,
    ) {
        let Some(observer) = &self.observer else { return };
        let at = at.or_else(|| self.cursor.progress.at());
        if let Some(event) = at.and_then(|at| self.observed(at)) {
            observer.entered(event, KeyWindow { table: table.into(), key: key.to_vec(), window }, is_late);
        }
    }

    /// Reports to the observer that the stage closes windows of a table.
    pub(super) fn observe_closed(&self, table: &Arc<str>, closed: &[ClosedWindow]) {
        let Some(observer) = &self.observer else { return };
        for ClosedWindow { key, window, .. } in closed {
            let closed = KeyWindow { table: Arc::clone(table), key: key.clone(), window: *window };
            observer.closed(&self.agent, closed, self.clock.now());
        }
    }

    fn observed(&self, at: Position) -> Option<StageEvent> {
        let partition = self.inputs.get(at.input as usize)?.reader.partition().clone();
        Some(StageEvent { agent: Arc::clone(&self.agent), partition, offset: at.offset })
    }

    /// Returns the position of another of the stage's messages, as [`place`](Self::place).
    pub(crate) fn place_of(&self, at: Position) -> String {
        match self.inputs.get(at.input as usize) {
            Some(input) => format!("{} offset {}", input.reader.partition(), at.offset),
            None => "no partition".to_owned(),
        }
    }
}

impl std::fmt::Debug for RunningStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningStage")
            .field("agent", &self.agent)
            .field("depth", &self.depth)
            .field("inputs", &self.inputs)
            .finish_non_exhaustive()
    }
}
