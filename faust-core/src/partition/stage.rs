//! What a running stage of a partition task has at hand: its inputs, its place in them, and the way out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::closing::StageTables;
use super::cursor::Cursor;
use super::feed::Feed;
use crate::config::DecodePolicy;
use crate::transport::Delivery;
use crate::error::Error;
use crate::message::RawMessage;
use crate::stats::Stats;
use crate::table::LateEvent;
use crate::time::{Clock, Timestamp};
use crate::transport::{Outgoing, SendRefused, Sink, SinkTopic};
use crate::error::TransportError;
use crate::window::Window;

/// One stage of one partition, alive. Streams and topics of its agent hold it.
#[derive(Debug)]
pub(crate) struct LiveStage {
    /// The agent it belongs to.
    pub(crate) agent: Arc<str>,
    /// Which of the agent's streams it reads: 0 is the source, 1 what the first `group_by` or `through` wrote.
    pub(crate) hop: usize,
    /// The partitions it reads.
    pub(crate) inputs: Vec<Input>,
    /// Where it stands in them.
    pub(crate) cursor: Arc<Cursor>,
    /// Where what it sends goes.
    pub(crate) outputs: Arc<Outputs>,
    /// What to do with a message that cannot be decoded.
    pub(crate) on_decode_error: DecodePolicy,
    /// How many events may be handed out and not acked.
    pub(crate) buffer_maxsize: usize,
    /// The task's tables, as this stage uses them.
    pub(crate) tables: StageTables,
    /// The wall clock.
    pub(crate) clock: Clock,
}

/// One partition a stage reads, and its seat there.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) feed: Arc<Feed>,
    pub(crate) seat: usize,
    /// The feed's epoch when this stage was started.
    pub(crate) epoch: u64,
}

impl Input {
    /// See [`Feed::poll_batch`].
    pub(crate) fn poll_batch(
        &self,
        cx: &mut Context<'_>,
        max: usize,
        each: &mut dyn FnMut(RawMessage<'_>),
    ) -> Poll<Result<usize, TransportError>> {
        self.feed.poll_batch((self.epoch, self.seat), cx, max, each)
    }
}

impl LiveStage {
    /// `topic[partition] @ offset` of the event the stage is in, for messages to people.
    pub(crate) fn place(&self) -> String {
        let (input, offset) = self.cursor.at();
        self.place_of(input, offset)
    }

    /// Between its events it has something to do for its tables that is not done: windows are half closed, late events
    /// have not been told of.
    pub(crate) fn is_closing(&self) -> bool {
        self.cursor.is_in_flight() || self.tables.has_late()
    }

    /// The stage cannot go on: its stream stays silent, and nothing that it makes of this leaves the worker.
    pub(crate) fn fail(&self, error: Error) {
        self.outputs.refuse();
        self.cursor.fail(error);
    }

    /// An event came for a window that is gone: its time and the stream's; `at` says which, where it is not the present.
    pub(crate) fn late(
        &self,
        table: &str,
        key: &[u8],
        window: Window,
        (timestamp, stream_time): (Timestamp, Timestamp),
        at: Option<(u32, i64)>,
    ) {
        self.outputs.stats.late_event();
        let (input, offset) = at.unwrap_or_else(|| self.cursor.at());
        let partition = self.inputs.get(input as usize).map(|input| input.feed.partition());
        let event = LateEvent {
            timestamp,
            stream_time,
            topic: partition.map_or_else(|| Arc::from(""), |partition| Arc::clone(&partition.topic)),
            partition: partition.map_or(0, |partition| partition.partition),
            offset,
        };
        self.tables.note_late(table, key, window, event);
    }

    /// The same for another of its messages.
    pub(crate) fn place_of(&self, input: u32, offset: i64) -> String {
        match self.inputs.get(input as usize) {
            Some(input) if offset >= 0 => format!("{} offset {offset}", input.feed.partition()),
            Some(input) => format!("{}, before its first event", input.feed.partition()),
            None => "no partition".to_owned(),
        }
    }
}

/// The way out of a task: the worker's producer, and the count of what is under way.
pub(crate) struct Outputs {
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) stats: Arc<Stats>,
    /// Where messages go that cannot be decoded.
    pub(crate) dead_letter: String,
    /// What was sent since the last cut.
    current: ArcSwap<Delivery>,
    /// What was sent before it and may be under way still.
    ended: Mutex<Vec<Arc<Delivery>>>,
    topics: Mutex<BTreeMap<String, Arc<dyn SinkTopic>>>,
    /// Messages sent that the worker's count does not have yet.
    untold: AtomicU64,
    /// A stage has failed on its tables and its agent may not know: what it sends would be made of wrong values.
    refuses: AtomicBool,
}

/// Messages after which the worker's count is brought up to date, if no cut comes before.
const TELL_EVERY: u64 = 64;

impl Drop for Outputs {
    fn drop(&mut self) {
        self.tell();
    }
}

impl Outputs {
    pub(crate) fn new(sink: Arc<dyn Sink>, stats: Arc<Stats>, dead_letter: String) -> Arc<Self> {
        Arc::new(Self {
            sink,
            stats,
            dead_letter,
            current: ArcSwap::new(Delivery::new()),
            ended: Mutex::default(),
            topics: Mutex::default(),
            untold: AtomicU64::new(0),
            refuses: AtomicBool::new(false),
        })
    }

    /// The handle of a topic, looked up once.
    pub(crate) fn topic(&self, name: &str) -> Result<Arc<dyn SinkTopic>, Error> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = topics.get(name) {
            return Ok(Arc::clone(topic));
        }
        let topic = self.sink.topic(name)?;
        topics.insert(name.to_owned(), Arc::clone(&topic));
        Ok(topic)
    }

    /// Sends without waiting for room.
    pub(crate) fn try_send(&self, topic: &Arc<dyn SinkTopic>, message: &Outgoing<'_>) -> Result<(), SendRefused> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(SendRefused::Failed(TransportError::fatal("send", "a table of this agent has failed")));
        }
        topic.try_send(message, &self.current.load())?;
        // Told in lumps: the worker's counter is everybody's, and this is done for every message.
        let untold = self.untold.fetch_add(1, Ordering::Relaxed) + 1;
        if untold.is_multiple_of(TELL_EVERY) {
            self.tell();
        }
        Ok(())
    }

    /// Nothing more is sent by these stages.
    fn refuse(&self) {
        self.refuses.store(true, Ordering::Relaxed);
    }

    /// Sends, waiting for room as long as it takes.
    pub(crate) async fn send(&self, topic: &Arc<dyn SinkTopic>, message: &Outgoing<'_>) -> Result<(), TransportError> {
        loop {
            match self.try_send(topic, message) {
                Ok(()) => return Ok(()),
                Err(SendRefused::Full) => self.sink.room().await,
                Err(SendRefused::Failed(error)) => return Err(error),
            }
        }
    }

    /// What was sent until now ends here. Returns everything that a commit of this moment has to wait for.
    pub(crate) fn cut(&self) -> Vec<Arc<Delivery>> {
        self.tell();
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|delivery| !delivery.is_fulfilled());
        ended.push(self.current.swap(Delivery::new()));
        ended.clone()
    }

    /// Waits until everything sent so far has arrived, and forgets it: for senders that are no part of a commit.
    pub(crate) async fn settle(&self, within: Duration) -> Result<(), TransportError> {
        let sent = self.cut();
        let arrived = async {
            for delivery in &sent {
                delivery.all().await?;
            }
            Ok(())
        };
        let arrived = tokio::time::timeout(within, arrived).await;
        let arrived =
            arrived.map_err(|_| TransportError::retriable("flush", format!("not all has arrived after {within:?}")))?;
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|delivery| !sent.iter().any(|told| Arc::ptr_eq(told, delivery)));
        arrived
    }

    fn tell(&self) {
        self.stats.sent(self.untold.swap(0, Ordering::Relaxed));
    }
}

impl std::fmt::Debug for Outputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outputs").field("current", &self.current).finish_non_exhaustive()
    }
}
