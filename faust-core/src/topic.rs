//! Topics that an agent sends to.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::codec::encode::{encode, encode_parts};
use crate::codec::record::{KeyFn, TimestampFn, key_of, timestamp_of};
use crate::codec::{Coder, Data, Role, UnknownCodec};
use crate::declare::{ArgSpec, TopicDecl};
use crate::error::Error;
use crate::message::{Headers, Offset, OwnedMessage, RawKey};
use crate::stage::binding::Binding;
use crate::stage::context::StageMode;
use crate::stage::outbox::{Outbox, Sending};
use crate::stage::{AgentArg, AgentCx};
use crate::time::Timestamp;
use crate::transport::{Outgoing, SinkTopic};

/// A topic to send messages to, with keys `K` and values `V`.
///
/// Agents take it as an argument: `#[topic("a.b")] out: Topic<String, Click>`. Cloning it is cheap.
pub struct Topic<K, V> {
    inner: Arc<Inner<K, V>>,
}

struct Inner<K, V> {
    name: String,
    key: Coder<K>,
    value: Coder<V>,
    /// Functions for the record's `key = field` and `timestamp = field`.
    key_of: Option<KeyFn>,
    timestamp_of: Option<TimestampFn>,
    binding: TopicBinding,
}

/// A stage's outbox with the handle of the topic, or the list of messages that a test records.
type TopicBinding = Binding<(Arc<Outbox>, Arc<dyn SinkTopic>), Arc<Mutex<Vec<OwnedMessage>>>>;

impl<K: Data, V: Data> Topic<K, V> {
    /// Sends a message. The key determines the partition, by murmur2 as in the Java client.
    ///
    /// The call passes the message to the producer; awaiting it only waits for room in the producer's buffer. Delivery
    /// is checked before the next commit: an event is not committed before all messages sent in it have been
    /// acknowledged.
    ///
    /// # Errors
    /// Returns an error if the message cannot be encoded, or if the producer rejects it permanently; with the setting
    /// `on_timestamp_error = "fail"`, also if its timestamp is one that the topic does not accept, or that Kafka would
    /// change: one that is not after 1970-01-01.
    ///
    /// # Examples
    /// ```
    /// use faust::Topic;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> faust::Result<()> {
    /// let (totals, sent) = Topic::<String, i64>::recorded("totals")?;
    /// totals.send(&"a".to_owned(), &1).await?;
    /// totals.send(&"b".to_owned(), &2).await?;
    /// assert_eq!(sent.values()?, [1, 2]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn send<'a>(&'a self, key: &K, value: &V) -> impl Future<Output = Result<(), Error>> + Send + use<'a, K, V> {
        self.send_with(key, value, |message| message)
    }

    /// Sends a value without a key, or with the key that its record declares with `key = field`.
    ///
    /// # Errors
    /// Same as [`send`](Self::send).
    ///
    /// # Examples
    /// ```
    /// use faust::prelude::*;
    ///
    /// #[record(key = user)]
    /// struct Login { user: String }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let (logins, sent) = Topic::<String, Login>::recorded("logins")?;
    /// logins.send_value(&Login { user: "ada".to_owned() }).await?;
    /// assert_eq!(sent.messages()[0].key.as_deref(), Some(&b"ada"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_value<'a>(&'a self, value: &V) -> impl Future<Output = Result<(), Error>> + Send + use<'a, K, V> {
        self.hand_over(None, value, SendOptions::default())
    }

    /// Sends a message with a given partition, timestamp or headers.
    ///
    /// # Errors
    /// Same as [`send`](Self::send).
    ///
    /// # Examples
    /// ```
    /// use faust::{Timestamp, Topic};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> faust::Result<()> {
    /// let (totals, sent) = Topic::<String, i64>::recorded("totals")?;
    /// let time = Timestamp(1_700_000_000_000);
    /// totals.send_with(&"a".to_owned(), &1, |m| m.timestamp(time).header("source", "lesson")).await?;
    /// let message = &sent.messages()[0];
    /// assert_eq!((message.timestamp, message.headers.get_str("source")), (time, Some("lesson")));
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_with<'a, F: FnOnce(SendOptions) -> SendOptions>(
        &'a self,
        key: &K,
        value: &V,
        options: F,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<'a, K, V, F> {
        self.hand_over(Some(key), value, options(SendOptions::default()))
    }

    /// Encodes and offers the message immediately; the future waits only if the producer's buffer is full.
    fn hand_over<'a>(
        &'a self,
        key: Option<&K>,
        value: &V,
        options: SendOptions,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<'a, K, V> {
        let offered = self.offer(key, value, options);
        async move {
            match offered? {
                Some(sending) => Ok(sending.await?),
                None => Ok(()),
            }
        }
    }

    /// Returns the message if the producer's buffer is full.
    fn offer(&self, key: Option<&K>, value: &V, options: SendOptions) -> Result<Option<Sending>, Error> {
        let Inner { name, binding, .. } = &*self.inner;
        if let Binding::Planning(recorder) = binding {
            return Err(recorder.violation(&format!("sends to topic `{name}`")));
        }
        let timestamp = match (options.timestamp, self.inner.timestamp_of) {
            (None, Some(of)) => of(value).map_err(|why| Error::encode(name, "timestamp", why))?,
            (given, _) => given,
        };
        self.encode(key, value, |key, payload| {
            let message = Outgoing {
                partition: options.partition,
                key,
                payload,
                headers: options.headers,
                timestamp,
                last_header: None,
            };
            offer(binding, &message)
        })?
    }

    fn encode<R>(
        &self,
        key: Option<&K>,
        value: &V,
        then: impl FnOnce(Option<&[u8]>, Option<&[u8]>) -> R,
    ) -> Result<R, Error> {
        let Inner { name, key: key_coder, value: value_coder, key_of, .. } = &*self.inner;
        match (key, key_of) {
            (Some(key), _) => encode(name, key_coder, key, value_coder, value, then),
            (None, of) => encode_parts(
                |out| of.map_or(Ok(false), |of| of(value, out)).map_err(|why| Error::encode(name, "key", why)),
                |out| value_coder.encode(value, out).map_err(|why| Error::encode(name, "value", why)),
                then,
            ),
        }
    }

    /// Returns the topic's name.
    ///
    /// # Examples
    /// ```
    /// use faust::Topic;
    ///
    /// let (totals, _) = Topic::<String, i64>::recorded("totals")?;
    /// assert_eq!(totals.name(), "totals");
    /// # Ok::<(), faust::Error>(())
    /// ```
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Creates a topic that records the messages sent to it, for calling an agent's function in a unit test.
    ///
    /// # Errors
    /// Returns an error if a type has no codec.
    ///
    /// # Examples
    /// ```
    /// use faust::{Error, Topic};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> faust::Result<()> {
    /// async fn square(number: i64, squares: Topic<String, i64>) -> Result<(), Error> {
    ///     squares.send(&number.to_string(), &(number * number)).await
    /// }
    ///
    /// let (squares, sent) = Topic::recorded("squares")?;
    /// square(3, squares).await?;
    /// assert_eq!(sent.values()?, [9]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn recorded(name: &str) -> Result<(Self, Recorded<K, V>), Error> {
        let messages = Arc::default();
        let topic = Self::new(&TopicDecl::new(""), name, Binding::Detached(Arc::clone(&messages)))?;
        let recorded = Recorded { topic: topic.clone(), messages };
        Ok((topic, recorded))
    }

    /// Opens a topic by name for an agent, as one of its sinks.
    pub(crate) fn open(cx: &mut AgentCx<'_>, name: &str) -> Result<Self, Error> {
        if let StageMode::Planning(recorder) = &cx.mode {
            recorder.writes(name);
        }
        Self::new(&TopicDecl::new(""), name, bind(&cx.mode, name)?)
    }

    /// Opens a topic for use outside of agents.
    pub(crate) fn outside(name: &str, outbox: &Arc<Outbox>) -> Result<Self, Error> {
        let topic = outbox.topic(name)?;
        Self::new(&TopicDecl::new(""), name, Binding::Live((Arc::clone(outbox), topic)))
    }

    fn new(decl: &TopicDecl, name: &str, binding: TopicBinding) -> Result<Self, Error> {
        let fault = |why: UnknownCodec| Error::setup(vec![format!("topic `{name}`: {why}")]);
        let inner = Inner {
            name: name.to_owned(),
            key: Coder::resolve(decl.key_codec, Role::Key).map_err(fault)?,
            value: Coder::resolve(decl.value_codec, Role::Value).map_err(fault)?,
            key_of: key_of::<V>(),
            timestamp_of: timestamp_of::<V>(),
            binding,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

/// Binds a topic for an agent or a hook.
fn bind(mode: &StageMode, name: &str) -> Result<TopicBinding, Error> {
    Ok(match mode {
        StageMode::Planning(recorder) => Binding::Planning(Arc::clone(recorder)),
        StageMode::Live(stage) => Binding::Live((Arc::clone(&stage.outbox), stage.outbox.topic(name)?)),
    })
}

/// Offers a message to the producer. Returns the message if the producer's buffer is full.
fn offer(binding: &TopicBinding, message: &Outgoing<'_>) -> Result<Option<Sending>, Error> {
    match binding {
        Binding::Live((outbox, topic)) => Ok(outbox.offer(topic, message)?),
        Binding::Detached(messages) => {
            let mut messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
            let offset = Offset(i64::try_from(messages.len()).unwrap_or(i64::MAX));
            messages.push(OwnedMessage {
                offset,
                timestamp: message.timestamp.unwrap_or_else(Timestamp::now),
                key: message.key.map(Bytes::copy_from_slice),
                payload: message.payload.map(Bytes::copy_from_slice),
                headers: message.headers.clone(),
            });
            Ok(None)
        }
        Binding::Planning(_) => Ok(None),
    }
}

impl<K: Data, V: Data> AgentArg for Topic<K, V> {
    fn arg(cx: &mut AgentCx<'_>, spec: &'static ArgSpec) -> Result<Self, Error> {
        let Some(decl) = &spec.topic else {
            let fault = format!(
                "agent `{}`: argument `{}` is a topic without a name; write `#[topic(\"a.b\")] {1}: ..`",
                cx.agent, spec.name
            );
            return Err(Error::setup(vec![fault]));
        };
        if let StageMode::Planning(recorder) = &cx.mode {
            recorder.declares(decl);
        }
        Self::new(decl, decl.name, bind(&cx.mode, decl.name)?)
    }
}

impl<K, V> Clone for Topic<K, V> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K, V> std::fmt::Debug for Topic<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Topic({})", self.inner.name)
    }
}

/// The messages sent to a topic created by [`Topic::recorded`].
#[derive(Debug)]
pub struct Recorded<K, V> {
    topic: Topic<K, V>,
    messages: Arc<Mutex<Vec<OwnedMessage>>>,
}

impl<K: Data, V: Data> Recorded<K, V> {
    /// Returns the encoded messages sent so far.
    ///
    /// # Examples
    /// ```
    /// use faust::Topic;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> faust::Result<()> {
    /// let (totals, sent) = Topic::<String, i64>::recorded("totals")?;
    /// totals.send(&"a".to_owned(), &1).await?;
    /// let messages = sent.messages();
    /// assert_eq!(messages[0].key.as_deref(), Some(&b"a"[..]));
    /// assert_eq!(messages[0].payload.as_deref(), Some(&b"1"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn messages(&self) -> Vec<OwnedMessage> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the decoded values sent so far.
    ///
    /// # Errors
    /// Returns an error if a value cannot be decoded by its own codec.
    ///
    /// # Examples
    /// ```
    /// use faust::Topic;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> faust::Result<()> {
    /// let (totals, sent) = Topic::<String, i64>::recorded("totals")?;
    /// assert!(sent.values()?.is_empty());
    /// totals.send(&"a".to_owned(), &1).await?;
    /// assert_eq!(sent.values()?, [1]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn values(&self) -> Result<Vec<V>, Error> {
        let decode = |message: OwnedMessage| self.topic.inner.value.decode(message.payload.as_deref());
        let decoded: Result<_, _> = self.messages().into_iter().map(decode).collect();
        decoded.map_err(|why| Error::encode(self.topic.name(), "value", why))
    }
}

/// Options of a message, for [`Topic::send_with`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct SendOptions {
    partition: Option<i32>,
    timestamp: Option<Timestamp>,
    headers: Headers,
}

impl SendOptions {
    /// Sets the partition, instead of the one determined by the key.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the timestamp, instead of the record's own or the current time.
    pub fn timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Sets all headers, such as those of the current event.
    pub fn headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers = self.headers.with(name, value);
        self
    }
}

/// A topic whose keys are sent as they were received, without decoding.
pub type RawTopic<V> = Topic<RawKey, V>;
