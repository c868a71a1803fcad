//! Other views of a stream: with keys, numbered, or in batches.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use super::event::Event;
use super::handle::Stream;
use super::origin::StreamOrigin;
use crate::message::RawKey;
use crate::stage::context::StageMode;

impl<V: Send + 'static, K: Send + 'static> Stream<V, K> {
    /// Returns a stream of keys and values.
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut prices = Stream::from_pairs([("tea", 3), ("milk", 2)]).items();
    /// assert_eq!(prices.next().await, Some(("tea", 3)));
    /// assert_eq!(prices.next().await, Some(("milk", 2)));
    /// # }
    /// ```
    pub fn items(self) -> Items<V, K> {
        Items { stream: self }
    }

    /// Returns a stream of values numbered from `start`. The count is local to this partition, and begins again
    /// whenever the agent starts.
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut numbered = Stream::from_iter(["a", "b"]).enumerate(1);
    /// assert_eq!(numbered.next().await, Some((1, "a")));
    /// assert_eq!(numbered.next().await, Some((2, "b")));
    /// # }
    /// ```
    pub fn enumerate(self, start: u64) -> Enumerated<V, K> {
        Enumerated { stream: self, count: start }
    }

    /// Returns a stream of batches of up to `max` values. A batch is yielded as soon as it has `max` values, or
    /// `within` after its first value.
    ///
    /// The following `next()` acks the batch as a whole. Empty batches are never yielded.
    ///
    /// The name is Faust's. Rust's name would be `chunks_timeout`, as in `tokio-stream`. The `take` of iterators, which
    /// ends after a number of items, is unrelated.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut batches = Stream::from_iter([1, 2, 3]).take(2, Duration::from_secs(1));
    /// assert_eq!(batches.next().await, Some(vec![1, 2]));
    /// assert_eq!(batches.next().await, Some(vec![3]));
    /// assert_eq!(batches.next().await, None);
    /// # }
    /// ```
    pub fn take(mut self, max: usize, within: Duration) -> Batches<V, K> {
        self.finish_current();
        Batches { stream: self, max: max.max(1), within, batch: Vec::new(), deadline: None, out: false }
    }
}

/// A stream of keys and values, from [`Stream::items`].
#[derive(Debug)]
#[must_use = "a stream does nothing until its `next()` is awaited"]
pub struct Items<V, K = RawKey> {
    stream: Stream<V, K>,
}

impl<V: Send + 'static, K: Send + 'static> Items<V, K> {
    /// Returns the next key and value. Acks as [`Stream::next`] does.
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut items = Stream::from_pairs([("tea", 3)]).items();
    /// assert_eq!((items.next().await, items.next().await), (Some(("tea", 3)), None));
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<(K, V)> {
        self.stream.next_item().await.map(|item| (item.key, item.value))
    }
}

/// A numbered stream, from [`Stream::enumerate`].
#[derive(Debug)]
#[must_use = "a stream does nothing until its `next()` is awaited"]
pub struct Enumerated<V, K = RawKey> {
    stream: Stream<V, K>,
    count: u64,
}

impl<V: Send + 'static, K: Send + 'static> Enumerated<V, K> {
    /// Returns the next number and value. Acks as [`Stream::next`] does.
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut numbered = Stream::from_iter(["a"]).enumerate(0);
    /// assert_eq!((numbered.next().await, numbered.next().await), (Some((0, "a")), None));
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<(u64, V)> {
        let value = self.stream.next().await?;
        self.count += 1;
        Some((self.count - 1, value))
    }
}

/// A stream of batches, from [`Stream::take`].
#[derive(Debug)]
#[must_use = "a stream does nothing until its `next()` is awaited"]
pub struct Batches<V, K = RawKey> {
    stream: Stream<V, K>,
    max: usize,
    within: Duration,
    /// Events collected for the next batch. A seal may be taken meanwhile; it covers the events before the first of them.
    batch: Vec<Event<V, K>>,
    /// Set while the batch is not empty.
    deadline: Option<Pin<Box<Sleep>>>,
    /// `true` while the agent holds a batch.
    out: bool,
}

impl<V: Send + 'static, K: Send + 'static> Batches<V, K> {
    /// Returns the next batch of values, and acks the previous one. When the stream of a partition ends, it returns
    /// `None`, and the events of an incomplete batch are read again later.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut batches = Stream::from_iter(1..=5).take(3, Duration::from_secs(1));
    /// let mut sums = Vec::new();
    /// while let Some(batch) = batches.next().await {
    ///     sums.push(batch.iter().sum::<i32>());
    /// }
    /// assert_eq!(sums, [6, 9]);
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<Vec<V>> {
        Some(self.next_events().await?.into_iter().map(Event::into_value).collect())
    }

    /// Returns the next batch of events, with keys, headers, timestamps and positions.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut batches = Stream::from_pairs([("a", 1), ("b", 2)]).take(10, Duration::from_secs(1));
    /// let batch = batches.next_events().await.unwrap_or_default();
    /// let keys: Vec<_> = batch.iter().map(|event| *event.key()).collect();
    /// assert_eq!(keys, ["a", "b"]);
    /// # }
    /// ```
    pub async fn next_events(&mut self) -> Option<Vec<Event<V, K>>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<Event<V, K>>>> {
        if let (true, StreamOrigin::Agent(StageMode::Live(stage))) = (self.out, &self.stream.origin) {
            stage.cursor.pass_batch();
        }
        ready!(self.stream.poll_closing(cx));
        self.finish_batch();
        loop {
            match self.stream.poll_unacked(cx) {
                Poll::Ready(Some(item)) => {
                    if self.batch.is_empty() {
                        self.deadline = Some(Box::pin(tokio::time::sleep(self.within)));
                    }
                    self.batch.push(Event::new(item, &self.stream.origin, false));
                    if self.batch.len() >= self.max {
                        return Poll::Ready(Some(self.hand_out()));
                    }
                }
                // A detached stream ends with its values; a live one because its partition is revoked or the worker
                // drains.
                Poll::Ready(None) if self.batch.is_empty() || self.live() => return Poll::Ready(None),
                Poll::Ready(None) => return Poll::Ready(Some(self.hand_out())),
                Poll::Pending => {
                    let Some(deadline) = &mut self.deadline else { return Poll::Pending };
                    // The events of a batch that has failed are retried one by one: each begins a batch of its own.
                    if !is_waiting_for_seal(&self.stream.origin) {
                        ready!(deadline.as_mut().poll(cx));
                    }
                    if !self.may_begin(cx) {
                        // The waker is registered: the batch is yielded right after the seal, or at the stage's turn.
                        return Poll::Pending;
                    }
                    return Poll::Ready(Some(self.hand_out()));
                }
            }
        }
    }

    fn hand_out(&mut self) -> Vec<Event<V, K>> {
        self.deadline = None;
        self.out = true;
        if let StreamOrigin::Agent(StageMode::Live(stage)) = &self.stream.origin {
            stage.begin_batch(self.batch.iter().map(|event| (event.at(), event.timestamp())));
        }
        std::mem::take(&mut self.batch)
    }

    fn finish_batch(&mut self) {
        if let (true, StreamOrigin::Agent(StageMode::Live(stage))) =
            (std::mem::take(&mut self.out), &self.stream.origin)
        {
            stage.cursor.finish_batch();
        }
    }

    fn may_begin(&self, cx: &mut Context<'_>) -> bool {
        match &self.stream.origin {
            StreamOrigin::Agent(StageMode::Live(stage)) => {
                !stage.cursor.gate.is_held() && stage.cursor.gate.take_turn(cx)
            }
            _ => true,
        }
    }

    fn live(&self) -> bool {
        matches!(&self.stream.origin, StreamOrigin::Agent(StageMode::Live(_)))
    }
}

/// Returns whether an event that has failed before waits for the end of the events before it.
fn is_waiting_for_seal(origin: &StreamOrigin) -> bool {
    matches!(origin, StreamOrigin::Agent(StageMode::Live(stage)) if stage.cursor.gate.is_waiting_for_seal())
}
