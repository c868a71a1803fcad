//! Streams of given values, for tests of agents without a broker.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use super::event::{Item, Meta};
use super::handle::Stream;
use super::origin::StreamOrigin;
use super::pull::{Blueprint, Pull};
use crate::error::Error;
use crate::message::{Headers, Offset, RawKey};
use crate::time::Timestamp;

impl<V: Send + 'static> Stream<V, RawKey> {
    /// Creates a stream of these values, for calling an agent's function in a unit test. It ends after the last value.
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut stream = Stream::from_iter([1, 2]);
    /// assert_eq!(stream.next().await, Some(1));
    /// assert_eq!(stream.next().await, Some(2));
    /// assert_eq!(stream.next().await, None);
    /// # }
    /// ```
    #[allow(clippy::should_implement_trait, reason = "`collect` into a stream would lose the key type")]
    pub fn from_iter<I>(values: I) -> Self
    where
        I: IntoIterator<Item = V>,
        I::IntoIter: Send + 'static,
    {
        Self::from_pairs(values.into_iter().map(|value| (RawKey::NONE, value)))
    }
}

impl<V: Send + 'static, K: Send + 'static> Stream<V, K> {
    /// Creates a stream of these keys and values. See [`from_iter`](Stream::from_iter).
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut stream = Stream::from_pairs([("a", 1), ("b", 2)]).items();
    /// assert_eq!(stream.next().await, Some(("a", 1)));
    /// assert_eq!(stream.next().await, Some(("b", 2)));
    /// # }
    /// ```
    pub fn from_pairs<I>(pairs: I) -> Self
    where
        I: IntoIterator<Item = (K, V)>,
        I::IntoIter: Send + 'static,
    {
        let pairs: Box<dyn Iterator<Item = (K, V)> + Send> = Box::new(pairs.into_iter());
        let blueprint = GivenSource { pairs: Mutex::new(Some(pairs)) };
        Self::from_blueprint(Arc::new(blueprint), StreamOrigin::Detached, 0)
    }
}

type Pairs<V, K> = Box<dyn Iterator<Item = (K, V)> + Send>;

struct GivenSource<V, K> {
    /// Taken at the first read: there is only one reader.
    pairs: Mutex<Option<Pairs<V, K>>>,
}

impl<V: Send + 'static, K: Send + 'static> Blueprint<V, K> for GivenSource<V, K> {
    fn build(&self, _: &StreamOrigin) -> Result<Box<dyn Pull<V, K>>, Error> {
        let pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let pairs = pairs.ok_or_else(|| Error::Misuse("a stream of given values can be read only once".to_owned()))?;
        Ok(Box::new(GivenPull { pairs, offset: Offset(0) }))
    }
}

struct GivenPull<V, K> {
    pairs: Pairs<V, K>,
    offset: Offset,
}

impl<V: Send, K: Send> Pull<V, K> for GivenPull<V, K> {
    fn poll_pull(&mut self, _: &mut Context<'_>) -> Poll<Option<Item<V, K>>> {
        let item = self.pairs.next().map(|(key, value)| {
            let meta = Meta { offset: self.offset, timestamp: Timestamp::now(), input: 0, headers: Headers::new() };
            self.offset = self.offset.next();
            Item { value, key, meta }
        });
        Poll::Ready(item)
    }
}
