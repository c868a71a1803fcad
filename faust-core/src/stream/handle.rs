//! The stream handle of an agent, with its own `next()`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::event::{Event, Item};
use super::origin::StreamOrigin;
use super::pull::{Blueprint, Pull, poll_slot};
use super::source::SourceBlueprint;
use crate::codec::Data;
use crate::declare::ArgSpec;
use crate::error::Error;
use crate::message::RawKey;
use crate::offsets::Position;
use crate::stage::context::StageMode;
use crate::stage::window_close::close;
use crate::stage::{AgentArg, AgentCx};

/// The events of an agent's partition, in order.
///
/// `next()` acks the event before it: when the loop body is through, the event is done. Nothing else needs to be said.
///
/// It is deliberately not a `futures::Stream`: combinators that look ahead (`chunks`, `buffered`, `peekable`) would ack
/// what nobody has processed. [`events`](Self::events) is one, of events that are acked one by one.
#[must_use = "a stream does nothing until its `next()` is awaited"]
pub struct Stream<V, K = RawKey> {
    /// What is done to every message before it is yielded; shared with the stages that other tasks run.
    pub(super) blueprint: Arc<dyn Blueprint<V, K>>,
    /// The blueprint brought to life in this partition, at the first `next()`.
    pull: Option<Box<dyn Pull<V, K>>>,
    pub(crate) origin: StreamOrigin,
    /// How many `group_by` and `through` lie behind.
    pub(crate) hop: usize,
    /// The event that the next `next()` acks.
    current: Option<Position>,
    /// Windows that are being closed; they belong to the event before.
    closing: Option<Closing>,
}

/// What is to be done between two events.
type Closing = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

impl<V: Send + 'static, K: Send + 'static> Stream<V, K> {
    pub(crate) fn from_blueprint(blueprint: Arc<dyn Blueprint<V, K>>, origin: StreamOrigin, hop: usize) -> Self {
        Self { blueprint, pull: None, origin, hop, current: None, closing: None }
    }

    /// The next value, when there is one; `None` when the worker drains or the partition is revoked.
    ///
    /// The event before is acked: it is committed with the next commit. It is cancel safe: as an arm of `select!` it
    /// loses nothing when another arm wins.
    pub async fn next(&mut self) -> Option<V> {
        self.next_item().await.map(|item| item.value)
    }

    /// The next value with its key, headers, time and place; acked as by [`next`](Self::next).
    pub async fn next_event(&mut self) -> Option<Event<V, K>> {
        self.next_item().await.map(|item| Event::new(item, &self.origin, false))
    }

    pub(crate) async fn next_item(&mut self) -> Option<Item<V, K>> {
        std::future::poll_fn(|cx| self.poll_next_item(cx)).await
    }

    pub(crate) fn poll_next_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item<V, K>>> {
        ready!(self.poll_closing(cx));
        self.finish_current();
        let polled = self.poll_unacked(cx);
        if let (Poll::Ready(Some(item)), StreamOrigin::Agent(StageMode::Live(stage))) = (&polled, &self.origin) {
            stage.tables.note_fields(&item.value);
            stage.cursor.begin(item.meta.at(), item.meta.timestamp);
            self.current = Some(item.meta.at());
        }
        polled
    }

    /// Closes the windows that the event before has left behind, while a cut still takes that event for unfinished: its
    /// ack and what is closed are committed together.
    pub(crate) fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let StreamOrigin::Agent(StageMode::Live(stage)) = &self.origin else { return Poll::Ready(()) };
        if self.closing.is_none() {
            if !stage.tables.has_work(stage.cursor.clock.stream_time()) {
                return Poll::Ready(());
            }
            stage.cursor.gate.begin_flight();
            self.closing = Some(Box::pin(close(Arc::clone(stage))));
        }
        let Some(closed) = ready!(poll_slot(&mut self.closing, cx)) else { return Poll::Ready(()) };
        match closed {
            Ok(()) => {
                stage.cursor.gate.end_flight();
                Poll::Ready(())
            }
            Err(error) => {
                stage.fail(error);
                Poll::Pending
            }
        }
    }

    /// The event that was yielded last is done.
    pub(crate) fn finish_current(&mut self) {
        if let (Some(at), StreamOrigin::Agent(StageMode::Live(stage))) = (self.current.take(), &self.origin) {
            stage.cursor.finish(at);
        }
    }

    /// The same stream with another operator at its end. The chain is fixed once it is read: what it has fetched ahead
    /// would be lost.
    pub(crate) fn adapt<W: Send + 'static>(
        self,
        operator: impl FnOnce(Arc<dyn Blueprint<V, K>>) -> Arc<dyn Blueprint<W, K>>,
    ) -> Stream<W, K> {
        let Self { blueprint, origin, hop, pull, .. } = self;
        if pull.is_some() {
            origin.fail(Error::Misuse(
                "a stream is adapted after its first `next()`; add `filter`, `map` and the like before the loop"
                    .to_owned(),
            ));
        }
        Stream::from_blueprint(operator(blueprint), origin, hop)
    }

    /// The next item, neither begun nor acked: `take` and `events` do that themselves.
    pub(crate) fn poll_unacked(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item<V, K>>> {
        match &self.origin {
            StreamOrigin::Agent(StageMode::Planning(recorder)) => {
                recorder.polled(self.hop);
                return Poll::Pending;
            }
            StreamOrigin::Agent(StageMode::Live(_)) | StreamOrigin::Detached => {}
        }
        if self.pull.is_none() {
            match self.blueprint.build(&self.origin) {
                Ok(pull) => self.pull = Some(pull),
                Err(error) => self.origin.fail(error),
            }
        }
        let polled = self.pull.as_mut().map_or(Poll::Pending, |pull| pull.poll_pull(cx));
        if let (true, StreamOrigin::Agent(StageMode::Live(stage))) = (polled.is_pending(), &self.origin) {
            stage.cursor.gate.park(cx);
        }
        polled
    }
}

impl<V: Data, K: Data> AgentArg for Stream<V, K> {
    fn arg(cx: &mut AgentCx<'_>, spec: &'static ArgSpec) -> Result<Self, Error> {
        let blueprint = SourceBlueprint::<V, K>::new(spec.source.key_codec, spec.source.value_codec)
            .map_err(|why| Error::setup(vec![format!("agent `{}`, stream `{}`: {why}", cx.agent, spec.name)]))?;
        if let StageMode::Planning(recorder) = &cx.mode {
            recorder.stream(spec.name, std::any::type_name::<V>())?;
        }
        Ok(Self::from_blueprint(Arc::new(blueprint), StreamOrigin::Agent(cx.mode.clone()), 0))
    }
}

impl<V, K> std::fmt::Debug for Stream<V, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("hop", &self.hop).finish_non_exhaustive()
    }
}

// A stream is moved freely: what it pins is boxed.
impl<V, K> Unpin for Stream<V, K> {}
