//! Other ways to read a stream: with keys, numbered, or in batches.

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
    /// Yields key and value.
    pub fn items(self) -> Items<V, K> {
        Items { stream: self }
    }

    /// Yields values numbered from `start`; the count is this partition's and begins anew with each start.
    pub fn enumerate(self, start: u64) -> Enumerated<V, K> {
        Enumerated { stream: self, count: start }
    }

    /// Yields batches of up to `max` values: as soon as there are `max`, or `within` after the first of them.
    ///
    /// The batch is acked as a whole by the next `next()`. An empty batch is never yielded.
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
    /// The next key and value; acks as [`Stream::next`].
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
    /// The next number and value; acks as [`Stream::next`].
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
    /// What has come for the next batch. A cut may be taken meanwhile: it commits up to the first of these.
    batch: Vec<Event<V, K>>,
    /// Runs while the batch has something in it.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Whether a batch is with the agent.
    out: bool,
}

impl<V: Send + 'static, K: Send + 'static> Batches<V, K> {
    /// The next batch of values. Acks the batch before; `None` when the stream ends, and what was gathered is read again.
    pub async fn next(&mut self) -> Option<Vec<V>> {
        Some(self.next_events().await?.into_iter().map(Event::into_value).collect())
    }

    /// The next batch, with keys, headers, times and places.
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
                // A detached stream ends with its values; a live one ends because its partition goes.
                Poll::Ready(None) if self.batch.is_empty() || self.live() => return Poll::Ready(None),
                Poll::Ready(None) => return Poll::Ready(Some(self.hand_out())),
                Poll::Pending => {
                    let Some(deadline) = &mut self.deadline else { return Poll::Pending };
                    ready!(deadline.as_mut().poll(cx));
                    if self.held() {
                        // A cut is being taken: the gate has our waker, and the batch goes out right after it.
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
            stage.cursor.begin_batch(self.batch.iter().map(|event| (event.at(), event.timestamp())));
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

    fn held(&self) -> bool {
        matches!(&self.stream.origin, StreamOrigin::Agent(StageMode::Live(stage)) if stage.cursor.gate.is_held())
    }

    fn live(&self) -> bool {
        matches!(&self.stream.origin, StreamOrigin::Agent(StageMode::Live(_)))
    }
}
