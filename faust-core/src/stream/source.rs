//! The start of every stream: reads batches from the partition, decodes them, and handles messages that are not processed:
//! those that cannot be decoded, and those that have failed too often.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::event::{Item, Meta};
use super::origin::StreamOrigin;
use super::pull::{Blueprint, Pull, poll_slot};
use crate::codec::record::{TimestampFn, timestamp_of};
use crate::codec::{Coder, Data, Role, UnknownCodec};
use crate::config::DecodePolicy;
use crate::error::{Error, TransportErrorKind};
use crate::message::{Offset, RawMessage};
use crate::offsets::Position;
use crate::stage::context::StageMode;
use crate::stage::dead_letter;
use crate::stage::dead_letter::Rejected;
use crate::stage::gate::Pass;
use crate::stage::given_up::{Disposal, GivenUp};
use crate::stage::running::RunningStage;
use crate::table_state::Prefetcher;

/// Number of messages read at a time. Throughput is the same for 16 to 512, and lower for 1.
const BATCH: usize = 128;
/// Number of events between two calls to `poll_proceed`; tokio yields after 128 calls.
const TURN: u32 = 8;

/// The decoding of a partition's messages into keys and values.
pub(crate) struct SourceBlueprint<V, K> {
    value: Coder<V>,
    key: Coder<K>,
    timestamp: Option<TimestampFn>,
}

impl<V: Data, K: Data> SourceBlueprint<V, K> {
    pub(crate) fn new(key_codec: Option<&str>, value_codec: Option<&str>) -> Result<Self, UnknownCodec> {
        Ok(Self {
            value: Coder::resolve(value_codec, Role::Value)?,
            key: Coder::resolve(key_codec, Role::Key)?,
            timestamp: timestamp_of::<V>(),
        })
    }
}

impl<V: Data, K: Data> Blueprint<V, K> for SourceBlueprint<V, K> {
    fn build(&self, origin: &StreamOrigin) -> Result<Box<dyn Pull<V, K>>, Error> {
        let StreamOrigin::Agent(StageMode::Live(stage)) = origin else {
            return Err(Error::Misuse("a stream can be read only inside an agent".to_owned()));
        };
        let decoder = Decoder { value: self.value.clone(), key: self.key.clone(), timestamp: self.timestamp };
        Ok(Box::new(SourcePull {
            stage: Arc::clone(stage),
            prefetcher: stage.tables.prefetcher(),
            decoder,
            buffer: VecDeque::with_capacity(BATCH),
            turn: 0,
            rejecting: None,
            served: 0,
        }))
    }
}

struct Decoder<V, K> {
    value: Coder<V>,
    key: Coder<K>,
    timestamp: Option<TimestampFn>,
}

struct SourcePull<V, K> {
    stage: Arc<RunningStage>,
    decoder: Decoder<V, K>,
    buffer: VecDeque<Buffered<V, K>>,
    prefetcher: Prefetcher,
    /// Index of the input to read first next time, so that no input starves.
    turn: usize,
    /// A dead letter that is being sent.
    rejecting: Option<Rejecting>,
    /// Number of events served, for yielding at regular intervals.
    served: u32,
}

/// Input and offset of a dead letter, and the result of sending it.
type Rejecting = Pin<Box<dyn Future<Output = (Position, Result<(), Error>)> + Send>>;

enum Buffered<V, K> {
    Good(Item<V, K>),
    /// Kept in order, so that the messages before it are processed first. Boxed because it is rare and large.
    Bad(Box<Rejected>),
}

impl<V: Data, K: Data> Pull<V, K> for SourcePull<V, K> {
    fn poll_pull(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item<V, K>>> {
        loop {
            if let Some((at, sent)) = ready!(poll_slot(&mut self.rejecting, cx)) {
                self.stage.cursor.gate.end_flight();
                match sent {
                    Ok(()) => self.stage.cursor.progress.ack(at),
                    Err(error) => self.stage.cursor.fail(error),
                }
            }
            // The gate is here and not at the end of the stream: work that an operator has begun may continue, but no
            // new event starts.
            match self.stage.cursor.gate.pass(cx) {
                Pass::Open => {}
                Pass::Held => return Poll::Pending,
                Pass::Drained => return Poll::Ready(None),
            }
            ready!(self.poll_turn(cx));
            if self.stage.cursor.gate.has_failed_events()
                && let Some(next) = self.buffer.front()
                && self.stage.cursor.gate.waits_for_seal(next.at(), cx)
            {
                return Poll::Pending;
            }
            match self.buffer.pop_front() {
                Some(Buffered::Good(item)) => {
                    self.stage.reach(item.meta.at());
                    return Poll::Ready(Some(item));
                }
                Some(Buffered::Bad(bad)) => self.reject(*bad),
                None => ready!(self.poll_fill(cx)),
            }
        }
    }
}

impl<V: Data, K: Data> SourcePull<V, K> {
    /// Yields to other tasks on this thread, and to this task's own commands, at regular intervals: an agent that
    /// awaits nothing else, on a partition with an endless supply of messages, would never yield.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.served += 1;
        if self.served.is_multiple_of(TURN) {
            ready!(tokio::task::coop::poll_proceed(cx)).made_progress();
        }
        Poll::Ready(())
    }

    /// Reads and decodes the next batch into the buffer.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { stage, decoder, buffer, prefetcher, turn, .. } = self;
        for step in 0..stage.inputs.len() {
            let index = (*turn + step) % stage.inputs.len();
            let Some(input) = stage.inputs.get(index) else { continue };
            let number = u32::try_from(index).expect("an agent has few topics");
            let polled = input.poll_batch(cx, BATCH, &mut |message| {
                let given_up = match stage.given_up.is_empty() {
                    true => None,
                    false => stage.given_up.get(&Position { input: number, offset: message.offset }),
                };
                buffer.push_back(match given_up {
                    None => {
                        prefetcher.note(message.key);
                        decoder.decode(number, &message)
                    }
                    Some(event) => Buffered::given_up(number, &message, event),
                });
            });
            // Whatever the result of the poll, this stage has to finish the messages that were read.
            if !buffer.is_empty() {
                prefetcher.look();
                stage.cursor.progress.delivered(number, buffer.iter().map(Buffered::offset));
                stage.outbox.stats.events(buffer.len() as u64);
            }
            match polled {
                Poll::Pending => {
                    // What is behind the last message counts as read, or the group's lag would never reach 0.
                    if let Some(end) = input.end() {
                        stage.cursor.progress.reached(number, end);
                    }
                }
                Poll::Ready(Ok(_)) => {
                    *turn = index + 1;
                    return Poll::Ready(());
                }
                Poll::Ready(Err(error)) if error.kind == TransportErrorKind::Retriable => {
                    tracing::warn!(partition = %input.reader.partition(), "{error}; reading continues");
                    cx.waker().wake_by_ref();
                }
                // No event is the cause.
                Poll::Ready(Err(error)) => stage.cursor.fail_between_events(error.into()),
            }
            if !buffer.is_empty() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Applies the policy to a message that is not processed.
    fn reject(&mut self, bad: Rejected) {
        let at = Position { input: bad.input, offset: bad.message.offset };
        let place = self.stage.place_of(at);
        let agent = &self.stage.agent;
        let policy = match bad.given_up {
            Some(Disposal::DeadLetter) => DecodePolicy::DeadLetter,
            Some(Disposal::Skip) => DecodePolicy::Skip,
            None => self.stage.on_decode_error,
        };
        let what = if bad.given_up.is_some() { "a message is given up" } else { "cannot decode a message" };
        let page = if bad.why.ends_with("missing field") { " (book: Changing a record)" } else { "" };
        match policy {
            DecodePolicy::DeadLetter => {
                tracing::warn!(%agent, %place, why = %bad.why, "{what}; it is sent to `{}`{page}", self.stage.outbox.dead_letter);
                let stage = Arc::clone(&self.stage);
                stage.cursor.gate.begin_flight();
                self.rejecting = Some(Box::pin(async move {
                    let sent = dead_letter::send(&stage, &bad).await;
                    (at, sent)
                }));
            }
            DecodePolicy::Skip => {
                tracing::warn!(%agent, %place, why = %bad.why, "{what}; it is skipped{page}");
                self.stage.outbox.stats.skipped();
                self.stage.cursor.progress.ack(at);
            }
            DecodePolicy::Stop => {
                self.stage.cursor.fail(Error::Decode { agent: agent.to_string(), place, why: bad.why });
            }
        }
    }
}

impl<V: Data, K: Data> Decoder<V, K> {
    fn decode(&self, input: u32, message: &RawMessage<'_>) -> Buffered<V, K> {
        let value = match self.value.decode(message.payload) {
            Ok(value) => value,
            Err(why) => return Buffered::bad(input, message, format!("value: {why}")),
        };
        let key = match self.key.decode(message.key) {
            Ok(key) => key,
            Err(why) => return Buffered::bad(input, message, format!("key: {why}")),
        };
        let own = match self.timestamp.map(|of| of(&value)) {
            None => None,
            Some(Ok(own)) => own,
            Some(Err(why)) => return Buffered::bad(input, message, format!("value: {why}")),
        };
        let (carried, headers) = message.event_time();
        let meta = Meta { offset: message.offset, timestamp: own.unwrap_or(carried), input, headers };
        Buffered::Good(Item { value, key, meta })
    }
}

impl<V, K> Buffered<V, K> {
    fn bad(input: u32, message: &RawMessage<'_>, why: String) -> Self {
        Self::Bad(Box::new(Rejected { input, message: message.to_owned(), why, given_up: None }))
    }

    fn given_up(input: u32, message: &RawMessage<'_>, event: &GivenUp) -> Self {
        let GivenUp { disposal, why } = event.clone();
        Self::Bad(Box::new(Rejected { input, message: message.to_owned(), why, given_up: Some(disposal) }))
    }

    fn at(&self) -> Position {
        match self {
            Self::Good(item) => item.meta.at(),
            Self::Bad(bad) => Position { input: bad.input, offset: bad.message.offset },
        }
    }

    fn offset(&self) -> Offset {
        match self {
            Self::Good(item) => item.meta.offset,
            Self::Bad(bad) => bad.message.offset,
        }
    }
}
