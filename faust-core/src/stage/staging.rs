//! Staged outputs: the messages that a group sends under exactly-once, until a transaction takes them.
//!
//! A transaction must not contain a part of an event, nor a message whose event it does not cover. So a message is copied into a
//! flat buffer when it is sent. A seal takes the whole buffer, since no event is open then, and the commit that contains the seal
//! sends it. It is kept until that commit is known: a transaction that was aborted is sent again.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::Notify;

use super::cursor::Cursor;
use crate::error::TransportError;
use crate::message::Headers;
use crate::time::Timestamp;
use crate::transport::{Delivery, Outgoing, Sealed, SendRefused, Sender, Sink, SinkTopic, send};

/// The memory for staged outputs, shared by all groups of a worker.
#[derive(Debug)]
pub(crate) struct OutputBudget {
    /// Number of bytes above which no stage begins an event.
    limit: u64,
    /// Maximum number of bytes that one event sends.
    event_limit: u64,
    used: AtomicU64,
    /// Number of groups with messages that no seal has taken.
    filled: AtomicU64,
    /// A group waits for memory.
    has_held: AtomicBool,
    /// A commit is due: half of the memory is in use.
    pub(crate) filling: Notify,
    /// The topics that the app itself reads.
    read: BTreeSet<Arc<str>>,
    /// A message to one of these was staged: the next stage waits for the commit.
    pub(crate) forwarded: Notify,
}

impl OutputBudget {
    /// Creates a budget of two limits in bytes: for finished messages, and for those of one event. `read` are the topics that the
    /// app itself reads.
    pub(crate) fn new((limit, event_limit): (u64, u64), read: BTreeSet<Arc<str>>) -> Arc<Self> {
        let (filling, forwarded) = (Notify::new(), Notify::new());
        Arc::new(Self {
            limit,
            event_limit,
            used: AtomicU64::new(0),
            filled: AtomicU64::new(0),
            has_held: AtomicBool::new(false),
            filling,
            read,
            forwarded,
        })
    }

    /// Returns whether no stage may begin an event until a commit has freed memory.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.limit
    }

    /// Notes that a group waits until a commit has freed memory.
    pub(crate) fn note_held(&self) {
        self.has_held.store(true, Ordering::Relaxed);
    }

    /// Returns whether a group has been noted to wait since the last call: another commit has to release it, since it may not take
    /// part in the one in progress.
    pub(crate) fn take_held(&self) -> bool {
        self.has_held.swap(false, Ordering::Relaxed)
    }

    /// Requests a commit, unless no group has messages that wait for one. Returns the number of groups that have.
    pub(crate) fn request_commit(&self) -> u64 {
        let filled = self.filled.load(Ordering::Relaxed);
        if filled > 0 {
            self.filling.notify_one();
        }
        filled
    }

    fn add(&self, bytes: u64) {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        if before < self.limit / 2 && before + bytes >= self.limit / 2 {
            self.filling.notify_one();
        }
    }

    fn free(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The producer of a group under exactly-once: it stages every message.
pub(crate) struct StagingSink(Arc<Staging>);

/// The messages of a run that no seal has taken yet.
pub(crate) struct Staging {
    /// The worker's other producer, which checks messages.
    checker: Arc<dyn Sink>,
    budget: Arc<OutputBudget>,
    /// The cursors of the group's stages.
    cursors: OnceLock<Vec<Arc<Cursor>>>,
    state: Mutex<StagingState>,
    /// Buffers whose messages were committed. A new one of several megabytes for each seal would cost page faults.
    spare: Arc<Mutex<Option<Buffer>>>,
}

#[derive(Default)]
struct StagingState {
    topics: Vec<Arc<str>>,
    buffer: Buffer,
    /// The buffer has a message to a topic that the app itself reads.
    is_forwarded: bool,
    /// Number of events begun when the last message was staged.
    begun: u64,
    /// Size of the buffer when the event began that has staged the last message. The budget counts as much: what an open event has
    /// sent never waits for room.
    event_start: usize,
}

/// Encoded messages.
#[derive(Debug, Default)]
struct Buffer {
    /// Keys and payloads, each key before its payload.
    bytes: Vec<u8>,
    messages: Vec<StagedMessage>,
    headers: Vec<Headers>,
    /// The events that have sent the messages from an index on, if they are known.
    senders: Vec<(usize, Option<Sender>)>,
}

#[derive(Clone, Copy, Debug)]
struct StagedMessage {
    topic: u32,
    /// The partition; negative if the key determines it.
    partition: i32,
    /// Length of the key, and of the payload; [`ABSENT`] if there is none.
    key: u32,
    payload: u32,
    /// Index of the headers plus one; 0 if there are none.
    headers: u32,
    timestamp: Option<Timestamp>,
}

/// Stands for the length of an absent key or payload.
const ABSENT: u32 = u32::MAX;
/// Size of a spare buffer above which it is not kept.
const MAX_SPARE: usize = 8 << 20;

impl Buffer {
    fn size(&self) -> usize {
        self.bytes.len() + self.messages.len() * size_of::<StagedMessage>()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.messages.clear();
        self.headers.clear();
        self.senders.clear();
    }

    fn push(&mut self, topic: u32, message: &Outgoing<'_>, sender: Option<&Sender>) {
        if self.senders.last().map_or(sender.is_some(), |(_, last)| last.as_ref() != sender) {
            self.senders.push((self.messages.len(), sender.cloned()));
        }
        let mut headers = 0;
        if !message.headers.is_empty() || message.last_header.is_some() {
            let mut all = message.headers.clone();
            if let Some((name, value)) = message.last_header {
                all.push(name.to_owned(), Some(bytes::Bytes::copy_from_slice(value)));
            }
            self.headers.push(all);
            headers = length(self.headers.len());
        }
        let mut put = |part: Option<&[u8]>| {
            part.map_or(ABSENT, |part| {
                self.bytes.extend_from_slice(part);
                length(part.len())
            })
        };
        let (key, payload) = (put(message.key), put(message.payload));
        let partition = message.partition.unwrap_or(-1);
        self.messages.push(StagedMessage { topic, partition, key, payload, headers, timestamp: message.timestamp });
    }
}

/// Returns a length, which a check has found to be that of a message that can be sent.
fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(ABSENT - 1)
}

impl Staging {
    /// Creates an empty buffer. `checker` is a producer that knows which messages are refused.
    pub(crate) fn new(checker: Arc<dyn Sink>, budget: Arc<OutputBudget>) -> Arc<Self> {
        let (cursors, state, spare) = (OnceLock::new(), Mutex::default(), Arc::default());
        Arc::new(Self { checker, budget, cursors, state, spare })
    }

    /// Returns the producer that fills the buffer.
    pub(crate) fn sink(self: &Arc<Self>) -> Arc<dyn Sink> {
        Arc::new(StagingSink(Arc::clone(self)))
    }

    /// Sets the cursors of the group's stages. They begin the events to which the messages belong.
    pub(crate) fn follow(&self, cursors: Vec<Arc<Cursor>>) {
        // Called once, when the run starts.
        drop(self.cursors.set(cursors));
    }

    /// Returns whether there are messages.
    pub(crate) fn is_empty(&self) -> bool {
        self.state().buffer.messages.is_empty()
    }

    /// Takes the messages. IMPORTANT: only while no stage of the group is inside an event.
    pub(crate) fn take(&self) -> Option<Arc<StagedOutputs>> {
        let mut state = self.state();
        if state.buffer.messages.is_empty() {
            return None;
        }
        state.is_forwarded = false;
        let next = self.spare().take().unwrap_or_default();
        let buffer = std::mem::replace(&mut state.buffer, next);
        let (topics, size) = (state.topics.clone(), buffer.size());
        self.budget.add((size - std::mem::take(&mut state.event_start)) as u64);
        self.budget.filled.fetch_sub(1, Ordering::Relaxed);
        let (budget, spare) = (Arc::clone(&self.budget), Arc::clone(&self.spare));
        Some(Arc::new(StagedOutputs { topics, buffer, size, budget, spare }))
    }

    fn stage(&self, to: &StagingTopic, message: &Outgoing<'_>, sender: Option<&Sender>) -> Result<(), TransportError> {
        let topic = to.topic;
        let cursors = self.cursors.get().map(Vec::as_slice).unwrap_or_default();
        let begun = cursors.iter().map(|cursor| cursor.progress.begun()).sum();
        let mut state = self.state();
        if state.begun != begun {
            let finished = state.buffer.size();
            self.budget.add((finished - state.event_start) as u64);
            (state.begun, state.event_start) = (begun, finished);
        }
        let before = state.buffer.size();
        let size =
            message.key.map_or(0, <[u8]>::len) + message.payload.map_or(0, <[u8]>::len) + size_of::<StagedMessage>();
        let of_event = (before + size).saturating_sub(state.event_start) as u64;
        if of_event > self.budget.event_limit {
            let name = state.topics.get(topic as usize).map_or("", |name| name);
            return Err(TransportError::fatal(
                format!("sending to `{name}`"),
                format!(
                    "the messages of one event take more than {} bytes: they are kept until the event is finished; raise `event_output_max`, or send less in an event",
                    self.budget.event_limit
                ),
            ));
        }
        if state.buffer.messages.is_empty() {
            self.budget.filled.fetch_add(1, Ordering::Relaxed);
        }
        state.buffer.push(topic, message, sender);
        if to.is_read && !state.is_forwarded {
            state.is_forwarded = true;
            self.budget.forwarded.notify_one();
        }
        drop(state);
        if self.budget.is_exhausted() {
            self.budget.note_held();
            self.budget.filling.notify_one();
            cursors.iter().for_each(|cursor| cursor.gate.hold_outputs());
        }
        Ok(())
    }

    fn topic(&self, name: &str) -> u32 {
        let mut state = self.state();
        let index = state.topics.iter().position(|known| **known == *name).unwrap_or_else(|| {
            state.topics.push(name.into());
            state.topics.len() - 1
        });
        length(index)
    }

    fn spare(&self) -> MutexGuard<'_, Option<Buffer>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, StagingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let state = self.state();
        self.budget.free(state.event_start as u64);
        self.budget.filled.fetch_sub(u64::from(!state.buffer.messages.is_empty()), Ordering::Relaxed);
    }
}

impl Sealed for StagingSink {}

impl Sink for StagingSink {
    fn topic(&self, name: &str) -> Result<Arc<dyn SinkTopic>, TransportError> {
        let Self(staging) = self;
        let checker = staging.checker.topic(name)?;
        let (topic, is_read) = (staging.topic(name), staging.budget.read.contains(name));
        Ok(Arc::new(StagingTopic { staging: Arc::clone(staging), topic, is_read, checker }))
    }

    fn room(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    fn flush(&self, _: Duration) -> BoxFuture<'_, Result<(), TransportError>> {
        ready(Ok(())).boxed()
    }
}

struct StagingTopic {
    staging: Arc<Staging>,
    topic: u32,
    /// The app itself reads the topic.
    is_read: bool,
    checker: Arc<dyn SinkTopic>,
}

impl Sealed for StagingTopic {}

impl SinkTopic for StagingTopic {
    fn try_send(&self, message: &Outgoing<'_>, delivery: &Arc<Delivery>) -> Result<(), SendRefused> {
        self.checker.check(message).map_err(SendRefused::Failed)?;
        self.staging.stage(self, message, delivery.sender()).map_err(SendRefused::Failed)
    }

    fn check(&self, message: &Outgoing<'_>) -> Result<(), TransportError> {
        self.checker.check(message)
    }
}

/// Messages that a seal has taken.
pub(crate) struct StagedOutputs {
    topics: Vec<Arc<str>>,
    buffer: Buffer,
    /// The bytes that the budget counts.
    size: usize,
    budget: Arc<OutputBudget>,
    spare: Arc<Mutex<Option<Buffer>>>,
}

/// Number of messages to send before yielding to other tasks.
const TURN: usize = 256;

impl StagedOutputs {
    /// Returns one delivery for each sender, in the order of the messages. Each counts one message that [`send`](Self::send) takes
    /// back, so that it is not complete before.
    pub(crate) fn deliveries(&self) -> Vec<Arc<Delivery>> {
        let of = |sender: &Option<Sender>| sender.clone().map_or_else(Delivery::new, Delivery::by);
        let mut deliveries: Vec<_> = self.buffer.senders.iter().map(|(_, sender)| of(sender)).collect();
        if self.runs().len() > deliveries.len() {
            deliveries.insert(0, Delivery::new());
        }
        deliveries.iter().for_each(|delivery| delivery.sent());
        deliveries
    }

    /// Sends the messages in order. `deliveries` are those that [`deliveries`](Self::deliveries) has returned.
    ///
    /// # Errors
    /// The producer rejects a message permanently. It is reported to its delivery, too.
    pub(crate) async fn send(&self, sink: &dyn Sink, deliveries: &[Arc<Delivery>]) -> Result<(), TransportError> {
        let topics: Result<Vec<_>, _> = self.topics.iter().map(|name| sink.topic(name)).collect();
        let topics = topics?;
        let mut at = 0;
        for (run, delivery) in self.runs().into_iter().zip(deliveries) {
            for index in run {
                if index % TURN == TURN - 1 {
                    tokio::task::yield_now().await;
                }
                let Some(staged) = self.buffer.messages.get(index) else { break };
                let mut part = |length: u32| {
                    let len = if length == ABSENT { return None } else { length as usize };
                    at += len;
                    self.buffer.bytes.get(at - len..at)
                };
                let (key, payload) = (part(staged.key), part(staged.payload));
                let headers = (staged.headers as usize).checked_sub(1).and_then(|index| self.buffer.headers.get(index));
                let message = Outgoing {
                    partition: Some(staged.partition).filter(|partition| *partition >= 0),
                    key,
                    payload,
                    headers: headers.cloned().unwrap_or_default(),
                    timestamp: staged.timestamp,
                    last_header: None,
                };
                let Some(topic) = topics.get(staged.topic as usize) else { break };
                send(sink, &**topic, &message, delivery).await?;
            }
        }
        Ok(())
    }

    /// Returns the number of messages.
    pub(crate) fn len(&self) -> usize {
        self.buffer.messages.len()
    }

    /// Returns the ranges of messages with the same sender.
    fn runs(&self) -> Vec<Range<usize>> {
        let starts = self.buffer.senders.iter().map(|(start, _)| *start);
        let starts: Vec<_> = std::iter::once(0).chain(starts.filter(|start| *start > 0)).collect();
        let ends = starts.iter().skip(1).copied().chain([self.buffer.messages.len()]);
        starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
    }
}

impl Drop for StagedOutputs {
    fn drop(&mut self) {
        self.budget.free(self.size as u64);
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.size() <= MAX_SPARE {
            buffer.clear();
            *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(buffer);
        }
    }
}

impl std::fmt::Debug for StagedOutputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StagedOutputs({} messages, {} bytes)", self.len(), self.size)
    }
}

impl std::fmt::Debug for Staging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staging").finish_non_exhaustive()
    }
}
