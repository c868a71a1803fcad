//! `group_by` and `through`: repartitioning a stream through a topic that a separate stage writes.
//!
//! When the agent is planned, everything before the repartition (operators, key, codecs) is recorded as a
//! [`Forwarder`], which another task runs. The agent's own live run builds only the operators after its last
//! repartition.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::event::Item;
use super::handle::Stream;
use super::origin::StreamOrigin;
use super::pull::{Blueprint, Pull};
use super::source::SourceBlueprint;
use crate::codec::encode::encode;
use crate::codec::record::key_of;
use crate::codec::{Coder, Data, Role, UnknownCodec};
use crate::error::Error;
use crate::stage::AgentFuture;
use crate::stage::context::StageMode;
use crate::stage::recorder::{Forwarder, RepartitionTarget};
use crate::stage::running::RunningStage;
use crate::transport::Outgoing;

impl<V: Data, K: Send + 'static> Stream<V, K> {
    /// Repartitions the stream by `key`: every event is sent through an internal topic, with its new key.
    ///
    /// `name` names the grouping and its topic, `<app>-<agent>-<name>-repartition`, which has as many partitions as the
    /// source. Values are sent as the preceding operators have produced them, with their headers and any timestamps, even
    /// ones that Kafka refuses or changes: these are sent in the header [`EVENT_TIME`](crate::message::EVENT_TIME).
    /// Filtering before `group_by` costs less than filtering after it, because dropped events are not sent.
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut by_parity = Stream::from_iter([1, 2]).group_by("parity", |n: &i64| n % 2 == 0).items();
    /// assert_eq!(by_parity.next().await, Some((false, 1)));
    /// assert_eq!(by_parity.next().await, Some((true, 2)));
    /// # }
    /// ```
    pub fn group_by<G: Data>(self, name: &str, key: impl Fn(&V) -> G + Send + Sync + 'static) -> Stream<V, G> {
        let rekey: Rekey<V, K, G> = Arc::new(move |value, _| Ok(key(value)));
        self.repartition(RepartitionTarget::Internal { name: name.to_owned(), partitions: None }, rekey)
    }

    /// Repartitions the stream by the field that the record declares with `key = field`, decoded as `G`. See
    /// [`group_by`](Self::group_by).
    ///
    /// # Examples
    /// ```
    /// use faust::prelude::*;
    ///
    /// #[record(key = uri)]
    /// struct Click { uri: String, number: i64 }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let clicks = Stream::from_iter([Click { uri: "/a".to_owned(), number: 1 }]);
    /// let mut by_uri = clicks.group_by_key::<String>("uri").items();
    /// let (key, click) = by_uri.next().await.expect("the stream has one value");
    /// assert_eq!((key.as_str(), click.number), ("/a", 1));
    /// # }
    /// ```
    pub fn group_by_key<G: Data>(self, name: &str) -> Stream<V, G> {
        let (of, coder) = (key_of::<V>(), Coder::<G>::resolve(None, Role::Key));
        let (Some(of), Ok(coder)) = (of, coder) else {
            self.origin.fail(Error::Misuse(format!(
                "group_by_key `{name}`: `{}` declares no key, or `{}` has no codec for keys; write `#[record(key = field)]` with a field of that type, or use `group_by` with a closure",
                std::any::type_name::<V>(),
                std::any::type_name::<G>()
            )));
            let never: Rekey<V, K, G> = Arc::new(|_, _| Err("there is no key".to_owned()));
            return self.repartition(RepartitionTarget::Internal { name: name.to_owned(), partitions: None }, never);
        };
        let rekey: Rekey<V, K, G> = Arc::new(move |value, _| {
            let mut bytes = Vec::new();
            let has_key = of(value, &mut bytes).map_err(|why| why.to_string())?;
            coder.decode(has_key.then_some(&*bytes)).map_err(|why| why.to_string())
        });
        self.repartition(RepartitionTarget::Internal { name: name.to_owned(), partitions: None }, rekey)
    }

    /// Like [`group_by`](Self::group_by), through a topic of `partitions` partitions instead of as many as the source
    /// has. For a source with few partitions, a larger number allows more parallelism, since each partition is
    /// processed separately.
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut by_digit = Stream::from_iter([17, 27]).group_by_into("digit", 10, |n: &i64| n % 10).items();
    /// assert_eq!(by_digit.next().await, Some((7, 17)));
    /// assert_eq!(by_digit.next().await, Some((7, 27)));
    /// # }
    /// ```
    pub fn group_by_into<G: Data>(
        self,
        name: &str,
        partitions: i32,
        key: impl Fn(&V) -> G + Send + Sync + 'static,
    ) -> Stream<V, G> {
        let rekey: Rekey<V, K, G> = Arc::new(move |value, _| Ok(key(value)));
        self.repartition(RepartitionTarget::Internal { name: name.to_owned(), partitions: Some(partitions) }, rekey)
    }

    fn repartition<G: Data>(self, target: RepartitionTarget, rekey: Rekey<V, K, G>) -> Stream<V, G> {
        let next = self.depth + 1;
        if let StreamOrigin::Detached = self.origin {
            let rekeyed = Rekeyed { inner: self.blueprint, rekey };
            return Stream::from_blueprint(Arc::new(rekeyed), self.origin, next);
        }
        match SourceBlueprint::<V, G>::new(None, None) {
            Ok(source) => {
                match &self.origin {
                    StreamOrigin::Agent(StageMode::Planning(recorder)) => {
                        let forwarder = Repartition { blueprint: self.blueprint, rekey, depth: self.depth };
                        recorder.repartition(target, Arc::new(forwarder));
                    }
                    StreamOrigin::Agent(StageMode::Live(stage)) if next > stage.depth => self.origin.fail(Error::Misuse(format!(
                        "agent `{}`: {target} comes after the first event, when the topology is fixed; move it before the first `next()` (book: Code before the first next())",
                        stage.agent
                    ))),
                    _ => {}
                }
                Stream::from_blueprint(Arc::new(source), self.origin, next)
            }
            Err(why) => {
                let error = Error::Misuse(format!("{target}: {why}"));
                self.origin.fail(Error::Misuse(error.to_string()));
                Stream::from_blueprint(Arc::new(Failed(error.to_string())), self.origin, next)
            }
        }
    }
}

impl<V: Data, K: Data + Clone> Stream<V, K> {
    /// Repartitions the stream through `topic`, to which every event is sent with its own key, as the preceding
    /// operators have produced it.
    ///
    /// The topic is declared at start-up. If it does not exist, it is created with the source's partition count.
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut orders = Stream::from_pairs([("a".to_owned(), 1)]).through("orders.checked").items();
    /// assert_eq!(orders.next().await, Some(("a".to_owned(), 1)));
    /// # }
    /// ```
    pub fn through(self, topic: &str) -> Stream<V, K> {
        self.repartition(RepartitionTarget::Named(topic.to_owned()), Arc::new(|_, key: &K| Ok(key.clone())))
    }
}

/// A function that computes the key of a forwarded event.
type Rekey<V, K, G> = Arc<dyn Fn(&V, &K) -> Result<G, String> + Send + Sync>;

struct Repartition<V, K, G> {
    blueprint: Arc<dyn Blueprint<V, K>>,
    rekey: Rekey<V, K, G>,
    depth: usize,
}

impl<V: Data, K: Send + 'static, G: Data> Forwarder for Repartition<V, K, G> {
    fn start(&self, stage: Arc<RunningStage>, to: &str) -> Result<AgentFuture, Error> {
        let misfit = |why: UnknownCodec| Error::Misuse(format!("topic `{to}`: {why}"));
        let key_coder: Coder<G> = Coder::resolve(None, Role::Key).map_err(misfit)?;
        let value_coder: Coder<V> = Coder::resolve(None, Role::Value).map_err(misfit)?;
        let topic = stage.outbox.carrying_topic(to)?;
        let (to, rekey) = (to.to_owned(), Arc::clone(&self.rekey));
        let origin = StreamOrigin::Agent(StageMode::Live(Arc::clone(&stage)));
        let mut stream = Stream::from_blueprint(Arc::clone(&self.blueprint), origin, self.depth);
        Ok(Box::pin(async move {
            while let Some(item) = stream.next_item().await {
                let key =
                    rekey(&item.value, &item.key).map_err(|why| format!("cannot compute a key for `{to}`: {why}"))?;
                let waiting = encode(&to, &key_coder, &key, &value_coder, &item.value, |key, payload| {
                    let (headers, timestamp) = (item.meta.headers.clone(), Some(item.meta.timestamp));
                    let message = Outgoing { partition: None, key, payload, headers, timestamp, last_header: None };
                    stage.outbox.offer(&topic, &message)
                })??;
                if let Some(sending) = waiting {
                    sending.await?;
                }
            }
            Ok(())
        }))
    }
}

/// A repartition whose types have no codec: the planner reports it, and nothing is ever read.
struct Failed(String);

impl<V, K> Blueprint<V, K> for Failed {
    fn build(&self, _: &StreamOrigin) -> Result<Box<dyn Pull<V, K>>, Error> {
        Err(Error::Misuse(self.0.clone()))
    }
}

/// A repartition of a detached stream, which has a new key but no topic.
struct Rekeyed<V, K, G> {
    inner: Arc<dyn Blueprint<V, K>>,
    rekey: Rekey<V, K, G>,
}

impl<V: Send + 'static, K: Send + 'static, G: Send + 'static> Blueprint<V, G> for Rekeyed<V, K, G> {
    fn build(&self, origin: &StreamOrigin) -> Result<Box<dyn Pull<V, G>>, Error> {
        Ok(Box::new(RekeyedPull { inner: self.inner.build(origin)?, rekey: Arc::clone(&self.rekey) }))
    }
}

struct RekeyedPull<V, K, G> {
    inner: Box<dyn Pull<V, K>>,
    rekey: Rekey<V, K, G>,
}

impl<V: Send, K: Send, G: Send> Pull<V, G> for RekeyedPull<V, K, G> {
    fn poll_pull(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item<V, G>>> {
        loop {
            let Some(Item { value, key, meta }) = ready!(self.inner.poll_pull(cx)) else { return Poll::Ready(None) };
            match (self.rekey)(&value, &key) {
                Ok(key) => return Poll::Ready(Some(Item { value, key, meta })),
                // A detached stream has no stage to fail, so the event is dropped.
                Err(why) => tracing::error!("an event without a key is dropped: {why}"),
            }
        }
    }
}
