//! The stream of events with explicit acks, in any order.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::event::Event;
use super::handle::Stream;
use super::origin::StreamOrigin;
use crate::message::RawKey;
use crate::stage::context::StageMode;

impl<V: Send + 'static, K: Send + 'static> Stream<V, K> {
    /// Yields events that are finished when their [`ack`](Event::ack) is called, not when the next one is requested.
    ///
    /// The result implements `futures::Stream`, so `buffered`, `for_each_concurrent` and the like apply. The committed
    /// offset stays at the first event that is not acked; an event that is dropped without an ack holds it there until
    /// a restart reads the event again. At most `stream_buffer_maxsize` events are handed out without an ack at a time.
    ///
    /// If the agent returns `Ok` after the stream's end, every event that is still not acked is acked: wait for your
    /// handlers before you return.
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut events = Stream::from_iter([1, 2]).events();
    /// let (first, second) = (events.next().await, events.next().await);
    /// for event in [second, first].into_iter().flatten() {
    ///     println!("{} is finished", event.value());
    ///     event.ack();
    /// }
    /// assert!(events.next().await.is_none());
    /// # }
    /// ```
    pub fn events(mut self) -> Events<V, K> {
        self.finish_current();
        Events { stream: self }
    }

    /// Alias of [`events`](Self::events), under Faust's name.
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut events = Stream::from_iter([1]).noack();
    /// let event = events.next().await.expect("the stream has one value");
    /// event.ack();
    /// assert_eq!(event.into_value(), 1);
    /// # }
    /// ```
    pub fn noack(self) -> Events<V, K> {
        self.events()
    }
}

/// A stream of events with explicit acks, from [`Stream::events`].
#[derive(Debug)]
#[must_use = "a stream does nothing until it is polled"]
pub struct Events<V, K = RawKey> {
    stream: Stream<V, K>,
}

impl<V: Send + 'static, K: Send + 'static> Events<V, K> {
    /// Returns the next event, or `None` when the worker drains or the partition is revoked.
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut events = Stream::from_iter(["a", "b"]).events();
    /// let mut seen = Vec::new();
    /// while let Some(event) = events.next().await {
    ///     event.ack();
    ///     seen.push(event.into_value());
    /// }
    /// assert_eq!(seen, ["a", "b"]);
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<Event<V, K>> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event<V, K>>> {
        if let StreamOrigin::Agent(StageMode::Live(stage)) = &self.stream.origin
            && !stage.cursor.gate.is_draining()
        {
            ready!(stage.cursor.poll_room(cx, stage.buffer_maxsize));
        }
        let Some(item) = ready!(self.stream.poll_unacked(cx)) else { return Poll::Ready(None) };
        if let StreamOrigin::Agent(StageMode::Live(stage)) = &self.stream.origin {
            stage.cursor.progress.hand_out(item.meta.at());
            stage.pass(item.meta.at(), item.meta.timestamp);
            stage.cursor.gate.end_turn();
        }
        Poll::Ready(Some(Event::new(item, &self.stream.origin, true)))
    }
}

impl<V: Send + 'static, K: Send + 'static> futures_util::Stream for Events<V, K> {
    type Item = Event<V, K>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(cx)
    }
}
