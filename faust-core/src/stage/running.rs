//! What a running stage of a partition task has at hand: its inputs, its place in them, and the way out.

use std::sync::Arc;

use super::cursor::Cursor;
use super::hook_call::LateEvent;
use super::input::Input;
use super::outbox::Outbox;
use super::tables::StageTables;
use crate::config::DecodePolicy;
use crate::error::Error;
use crate::offsets::Position;
use crate::time::{Clock, Timestamp};
use crate::window::Window;

/// One stage of one partition, alive. Streams and topics of its agent hold it.
#[derive(Debug)]
pub(crate) struct RunningStage {
    /// The agent it belongs to.
    pub(crate) agent: Arc<str>,
    /// Which of the agent's streams it reads: 0 is the source, 1 what the first `group_by` or `through` wrote.
    pub(crate) hop: usize,
    /// The partitions it reads.
    pub(crate) inputs: Vec<Input>,
    /// Where it stands in them.
    pub(crate) cursor: Arc<Cursor>,
    /// Where what it sends goes.
    pub(crate) outbox: Arc<Outbox>,
    /// What to do with a message that cannot be decoded.
    pub(crate) on_decode_error: DecodePolicy,
    /// How many events may be handed out and not acked.
    pub(crate) buffer_maxsize: usize,
    /// The task's tables, as this stage uses them.
    pub(crate) tables: StageTables,
    /// The wall clock.
    pub(crate) clock: Clock,
}

impl RunningStage {
    /// `topic[partition] @ offset` of the event the stage is in, for messages to people.
    pub(crate) fn place(&self) -> String {
        match self.cursor.progress.at() {
            Some(at) => self.place_of(at),
            None => match self.inputs.first() {
                Some(input) => format!("{}, before its first event", input.reader.partition()),
                None => "no partition".to_owned(),
            },
        }
    }

    /// Between its events it has something to do for its tables that is not done: windows are half closed, late events
    /// have not been told of.
    pub(crate) fn is_closing(&self) -> bool {
        self.cursor.gate.is_in_flight() || self.tables.has_late()
    }

    /// The stage cannot go on: its stream stays silent, and nothing that it makes of this leaves the worker.
    pub(crate) fn fail(&self, error: Error) {
        self.outbox.refuse();
        self.cursor.gate.fail(error);
    }

    /// An event came for a window that is gone: its time and the stream's; `at` says which, where it is not the present.
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
        let partition = at.and_then(|at| self.inputs.get(at.input as usize)).map(|input| input.reader.partition());
        let event = LateEvent {
            timestamp,
            stream_time,
            topic: partition.map_or_else(|| Arc::from(""), |partition| Arc::clone(&partition.topic)),
            partition: partition.map_or(0, |partition| partition.partition),
            offset: at.map_or(0, |at| at.offset),
        };
        self.tables.note_late(table, key, window, event);
    }

    /// The same for another of its messages.
    pub(crate) fn place_of(&self, at: Position) -> String {
        match self.inputs.get(at.input as usize) {
            Some(input) => format!("{} offset {}", input.reader.partition(), at.offset),
            None => "no partition".to_owned(),
        }
    }
}
