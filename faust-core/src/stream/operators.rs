//! Stateless operators: `filter`, `map`, `filter_map`, and their asynchronous forms.

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
    /// Keeps the events for which `keep` returns `true`. The others are acknowledged.
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut odd = Stream::from_iter([1, 2, 3]).filter(|n| n % 2 == 1);
    /// assert_eq!((odd.next().await, odd.next().await, odd.next().await), (Some(1), Some(3), None));
    /// # }
    /// ```
    pub fn filter(self, keep: impl Fn(&V) -> bool + Send + Sync + 'static) -> Self {
        self.filter_map(move |value| keep(&value).then_some(value))
    }

    /// Converts every value. Key, headers and time stay the same.
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut text = Stream::from_iter([1, 2]).map(|n: i32| n.to_string());
    /// assert_eq!((text.next().await, text.next().await), (Some("1".to_owned()), Some("2".to_owned())));
    /// # }
    /// ```
    pub fn map<W: Send + 'static>(self, f: impl Fn(V) -> W + Send + Sync + 'static) -> Stream<W, K> {
        self.filter_map(move |value| Some(f(value)))
    }

    /// Converts every value or drops it. Dropped events are acknowledged.
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut numbers = Stream::from_iter(["1", "x", "3"]).filter_map(|text| text.parse::<i32>().ok());
    /// assert_eq!((numbers.next().await, numbers.next().await, numbers.next().await), (Some(1), Some(3), None));
    /// # }
    /// ```
    pub fn filter_map<W: Send + 'static>(self, f: impl Fn(V) -> Option<W> + Send + Sync + 'static) -> Stream<W, K> {
        self.adapt(|inner| Arc::new(FilterMap { inner, f: Arc::new(f) }))
    }

    /// Converts every value asynchronously. The next event starts when the future has completed, so the order is kept.
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut doubled = Stream::from_iter([1, 2]).then(|n| async move { n * 2 });
    /// assert_eq!((doubled.next().await, doubled.next().await), (Some(2), Some(4)));
    /// # }
    /// ```
    pub fn then<W, F, Fut>(self, f: F) -> Stream<W, K>
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

    /// Keeps the events for which the future of `keep` resolves to `true`. The others are acknowledged.
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut odd = Stream::from_iter([1, 2, 3]).filter_async(|n| async move { *n % 2 == 1 });
    /// assert_eq!((odd.next().await, odd.next().await, odd.next().await), (Some(1), Some(3), None));
    /// # }
    /// ```
    pub fn filter_async<F, Fut>(self, keep: F) -> Self
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

    /// Faust's name for [`map`](Self::map), which new code should use.
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut doubled = Stream::from_iter([1, 2]).add_processor(|n| n * 2);
    /// assert_eq!((doubled.next().await, doubled.next().await), (Some(2), Some(4)));
    /// # }
    /// ```
    pub fn add_processor<W: Send + 'static>(self, f: impl Fn(V) -> W + Send + Sync + 'static) -> Stream<W, K> {
        self.map(f)
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

/// An event whose asynchronous function has not completed.
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
    /// Records that an operator has begun asynchronous work, which a cut and a drain wait for.
    pub(super) fn begin_flight(&self) {
        if let Self::Agent(StageMode::Live(stage)) = self {
            stage.cursor.gate.begin_flight();
        }
    }

    /// Records that the asynchronous work has ended.
    pub(super) fn end_flight(&self) {
        if let Self::Agent(StageMode::Live(stage)) = self {
            stage.cursor.gate.end_flight();
        }
    }

    /// Records that an operator has dropped this event, which finishes it.
    pub(super) fn drop_event(&self, meta: &Meta) {
        if let Self::Agent(StageMode::Live(stage)) = self {
            stage.cursor.progress.drop_event(meta.at());
        }
    }
}
