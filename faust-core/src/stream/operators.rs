//! The operators without state: `filter`, `map`, `filter_map` and processors, plain and asynchronous.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::event::{Item, Meta};
use super::handle::Stream;
use super::origin::StreamOrigin;
use super::pull::{Blueprint, Pull};
use crate::error::Error;
use crate::stage::context::StageMode;

impl<V: Send + 'static, K: Send + 'static> Stream<V, K> {
    /// Keeps the events for which `keep` is true; the others are acked here.
    pub fn filter(self, keep: impl Fn(&V) -> bool + Send + Sync + 'static) -> Self {
        self.filter_map(move |value| keep(&value).then_some(value))
    }

    /// Turns every value into another; key, headers and time stay.
    pub fn map<W: Send + 'static>(self, f: impl Fn(V) -> W + Send + Sync + 'static) -> Stream<W, K> {
        self.filter_map(move |value| Some(f(value)))
    }

    /// Turns every value into another or drops it; what is dropped is acked here.
    pub fn filter_map<W: Send + 'static>(self, f: impl Fn(V) -> Option<W> + Send + Sync + 'static) -> Stream<W, K> {
        self.adapt(|inner| Arc::new(FilterMap { inner, f: Arc::new(f) }))
    }

    /// Faust's name for [`map`](Self::map): processors run in the order they were added, before anything is yielded.
    pub fn add_processor<W: Send + 'static>(self, f: impl Fn(V) -> W + Send + Sync + 'static) -> Stream<W, K> {
        self.map(f)
    }

    /// A processor that awaits. The next event begins when it is done: order is kept.
    pub fn add_async_processor<W, F, Fut>(self, f: F) -> Stream<W, K>
    where
        W: Send + 'static,
        F: Fn(V) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = W> + Send + 'static,
    {
        let f = move |value| -> Pin<Box<dyn Future<Output = Option<W>> + Send>> {
            let future = f(value);
            Box::pin(async move { Some(future.await) })
        };
        self.adapt(|inner| Arc::new(AsyncFilterMap { inner, f: Arc::new(f) }))
    }

    /// A filter that awaits its verdict; what it does not keep is acked here.
    pub fn async_filter<F, Fut>(self, keep: F) -> Self
    where
        V: Sync,
        F: Fn(Arc<V>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = bool> + Send + 'static,
    {
        let f = move |value: V| -> Pin<Box<dyn Future<Output = Option<V>> + Send>> {
            let value = Arc::new(value);
            let verdict = keep(Arc::clone(&value));
            Box::pin(async move { if verdict.await { Arc::into_inner(value) } else { None } })
        };
        self.adapt(|inner| Arc::new(AsyncFilterMap { inner, f: Arc::new(f) }))
    }
}

/// A closure shared by all partitions.
type SharedFn<V, R> = Arc<dyn Fn(V) -> R + Send + Sync>;

struct FilterMap<V, W, K> {
    inner: Arc<dyn Blueprint<V, K>>,
    f: SharedFn<V, Option<W>>,
}

impl<V: Send + 'static, W: Send + 'static, K: Send + 'static> Blueprint<W, K> for FilterMap<V, W, K> {
    fn build(&self, origin: &StreamOrigin) -> Result<Box<dyn Pull<W, K>>, Error> {
        Ok(Box::new(FilterMapPull { inner: self.inner.build(origin)?, f: Arc::clone(&self.f), origin: origin.clone() }))
    }
}

struct FilterMapPull<V, W, K> {
    inner: Box<dyn Pull<V, K>>,
    f: SharedFn<V, Option<W>>,
    origin: StreamOrigin,
}

impl<V: Send, W: Send, K: Send> Pull<W, K> for FilterMapPull<V, W, K> {
    fn poll_pull(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item<W, K>>> {
        loop {
            let Some(Item { value, key, meta }) = ready!(self.inner.poll_pull(cx)) else { return Poll::Ready(None) };
            match (self.f)(value) {
                Some(value) => return Poll::Ready(Some(Item { value, key, meta })),
                None => self.origin.drop_event(&meta),
            }
        }
    }
}

struct AsyncFilterMap<V, W, K> {
    inner: Arc<dyn Blueprint<V, K>>,
    f: SharedFn<V, Pin<Box<dyn Future<Output = Option<W>> + Send>>>,
}

impl<V: Send + 'static, W: Send + 'static, K: Send + 'static> Blueprint<W, K> for AsyncFilterMap<V, W, K> {
    fn build(&self, origin: &StreamOrigin) -> Result<Box<dyn Pull<W, K>>, Error> {
        Ok(Box::new(AsyncPull {
            inner: self.inner.build(origin)?,
            f: Arc::clone(&self.f),
            origin: origin.clone(),
            running: None,
        }))
    }
}

struct AsyncPull<V, W, K> {
    inner: Box<dyn Pull<V, K>>,
    f: SharedFn<V, Pin<Box<dyn Future<Output = Option<W>> + Send>>>,
    origin: StreamOrigin,
    running: Option<Running<W, K>>,
}

/// An event whose processor has not finished.
struct Running<W, K> {
    future: Pin<Box<dyn Future<Output = Option<W>> + Send>>,
    key: K,
    meta: Meta,
}

impl<V: Send, W: Send, K: Send> Pull<W, K> for AsyncPull<V, W, K> {
    fn poll_pull(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item<W, K>>> {
        loop {
            if let Some(running) = &mut self.running {
                let result = ready!(running.future.as_mut().poll(cx));
                self.origin.end_flight();
                let Some(Running { key, meta, .. }) = self.running.take() else { continue };
                match result {
                    Some(value) => return Poll::Ready(Some(Item { value, key, meta })),
                    None => self.origin.drop_event(&meta),
                }
            }
            let Some(Item { value, key, meta }) = ready!(self.inner.poll_pull(cx)) else { return Poll::Ready(None) };
            self.running = Some(Running { future: (self.f)(value), key, meta });
            self.origin.begin_flight();
        }
    }
}

impl StreamOrigin {
    /// An operator begins something that a cut and a drain wait for.
    pub(super) fn begin_flight(&self) {
        if let Self::Agent(StageMode::Live(stage)) = self {
            stage.cursor.gate.begin_flight();
        }
    }

    /// It has ended.
    pub(super) fn end_flight(&self) {
        if let Self::Agent(StageMode::Live(stage)) = self {
            stage.cursor.gate.end_flight();
        }
    }

    /// An operator will not pass this event on: it is finished.
    pub(super) fn drop_event(&self, meta: &Meta) {
        if let Self::Agent(StageMode::Live(stage)) = self {
            stage.cursor.progress.drop_event(meta.at());
        }
    }
}
