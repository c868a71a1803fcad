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
/// `next()` acks the event before it: once the loop body has completed, the event is finished. No explicit ack is
/// needed.
///
/// The type deliberately does not implement `futures::Stream`: combinators that look ahead (`chunks`, `buffered`,
/// `peekable`) would ack events that have not been processed. [`events`](Self::events) returns a `futures::Stream` of
/// events that are acked one by one.
#[must_use = "a stream does nothing until its `next()` is awaited"]
pub struct Stream<V, K = RawKey> {
    /// Operators applied to every message before it is yielded; shared with the stages that other tasks run.
    pub(super) blueprint: Arc<dyn Blueprint<V, K>>,
    /// The operators built for this partition, at the first `next()`.
    pull: Option<Box<dyn Pull<V, K>>>,
    pub(crate) origin: StreamOrigin,
    /// Number of `group_by` and `through` operators before this stream.
    pub(crate) depth: usize,
    /// The event that the following `next()` acks.
    current: Option<Position>,
    /// The closing of windows in progress, which belongs to the previous event.
    closing: Option<Closing>,
}

/// Work to be done between two events.
type Closing = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

impl<V: Send + 'static, K: Send + 'static> Stream<V, K> {
    pub(crate) fn from_blueprint(blueprint: Arc<dyn Blueprint<V, K>>, origin: StreamOrigin, depth: usize) -> Self {
        Self { blueprint, pull: None, origin, depth, current: None, closing: None }
    }

    /// Returns the next value, or `None` when the worker drains or the partition is revoked.
    ///
    /// The previous event is acked, and thus included in the next commit. The method is cancel safe: as a branch of
    /// `select!`, it loses nothing if another branch completes first.
    ///
    /// If an event fails, the agent's function starts again, with the first event that is not finished: what it kept in
    /// variables is lost. State that must outlive a failure belongs into a table.
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut numbers = Stream::from_iter([1, 2, 3]);
    /// let mut sum = 0;
    /// while let Some(number) = numbers.next().await {
    ///     sum += number;
    /// }
    /// assert_eq!(sum, 6);
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<V> {
        self.next_item().await.map(|item| item.value)
    }

    /// Returns the next value with its key, headers, timestamp and position. Acks as [`next`](Self::next) does.
    ///
    /// # Examples
    /// ```
    /// use faust::{Offset, Stream};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut prices = Stream::from_pairs([("tea", 3)]);
    /// if let Some(event) = prices.next_event().await {
    ///     assert_eq!((event.key(), event.value(), event.offset()), (&"tea", &3, Offset(0)));
    /// }
    /// assert!(prices.next_event().await.is_none());
    /// # }
    /// ```
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
            stage.begin(item.meta.at(), item.meta.timestamp);
            self.current = Some(item.meta.at());
        }
        polled
    }

    /// Closes the windows that have expired with the previous event. A seal still treats that event as unfinished, so
    /// that its ack and the effects of the closing are committed together.
    pub(crate) fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let StreamOrigin::Agent(StageMode::Live(stage)) = &self.origin else { return Poll::Ready(()) };
        if self.closing.is_none() {
            if !stage.tables.has_work(stage.cursor.clock.stream_time()) {
                return Poll::Ready(());
            }
            if !stage.cursor.gate.take_turn(cx) {
                // Without an event of its own, the stage closes windows only because others have moved the stream time. After
                // a drain, their next owner does that.
                return if stage.cursor.gate.is_draining() { Poll::Ready(()) } else { Poll::Pending };
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

    /// Acks the event that was yielded last.
    pub(crate) fn finish_current(&mut self) {
        if let (Some(at), StreamOrigin::Agent(StageMode::Live(stage))) = (self.current.take(), &self.origin) {
            stage.cursor.finish(at);
        }
    }

    /// Appends an operator to the stream. The operators are fixed once the stream has been read, because changing them
    /// would lose the events that it has prefetched.
    pub(crate) fn adapt<W: Send + 'static>(
        self,
        operator: impl FnOnce(Arc<dyn Blueprint<V, K>>) -> Arc<dyn Blueprint<W, K>>,
    ) -> Stream<W, K> {
        let Self { blueprint, origin, depth, pull, .. } = self;
        if pull.is_some() {
            origin.fail(Error::Misuse(
                "a stream is adapted after its first `next()`; add `filter`, `map` and the like before the loop (book: Code before the first next())"
                    .to_owned(),
            ));
        }
        Stream::from_blueprint(operator(blueprint), origin, depth)
    }

    /// Polls the next item without beginning or acking it: `take` and `events` do that themselves.
    pub(crate) fn poll_unacked(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item<V, K>>> {
        match &self.origin {
            StreamOrigin::Agent(StageMode::Planning(recorder)) => {
                recorder.polled(self.depth);
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
            stage.cursor.gate.rest(cx);
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
        f.debug_struct("Stream").field("depth", &self.depth).finish_non_exhaustive()
    }
}

// A stream can be moved freely: everything it pins is boxed.
impl<V, K> Unpin for Stream<V, K> {}
