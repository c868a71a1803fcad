//! The `echo` operator, which sends every value to a topic and passes it on.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::event::Item;
use super::handle::Stream;
use super::origin::StreamOrigin;
use super::pull::{Blueprint, Pull, poll_slot};
use crate::codec::encode::encode;
use crate::codec::{Coder, Data, Role};
use crate::error::Error;
use crate::stage::context::StageMode;
use crate::stage::outbox::Sending;
use crate::stage::running::RunningStage;
use crate::transport::{Outgoing, SinkTopic};

impl<V: Data, K: Data> Stream<V, K> {
    /// Sends every value to `topic` and passes it on.
    ///
    /// The value is sent as the preceding operators have produced it, with the event's key, headers and timestamp.
    ///
    /// A stream of given values, as in this example, has no broker: its values are only passed on.
    ///
    /// # Examples
    /// ```
    /// use faust::Stream;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let mut doubled = Stream::from_iter([1, 2]).map(|n| n * 2).echo("doubled");
    /// assert_eq!(doubled.next().await, Some(2));
    /// assert_eq!(doubled.next().await, Some(4));
    /// # }
    /// ```
    pub fn echo(self, topic: &str) -> Self {
        if let StreamOrigin::Agent(StageMode::Planning(recorder)) = &self.origin {
            recorder.writes(topic);
        }
        self.adapt(|inner| Arc::new(Echo { inner, topic: topic.to_owned() }))
    }
}

struct Echo<V, K> {
    inner: Arc<dyn Blueprint<V, K>>,
    topic: String,
}

impl<V: Data, K: Data> Blueprint<V, K> for Echo<V, K> {
    fn build(&self, origin: &StreamOrigin) -> Result<Box<dyn Pull<V, K>>, Error> {
        let inner = self.inner.build(origin)?;
        // A detached stream has no broker: its values are only passed on.
        let StreamOrigin::Agent(StageMode::Live(stage)) = origin else { return Ok(inner) };
        let coders = (Coder::resolve(None, Role::Key), Coder::resolve(None, Role::Value));
        let (Ok(key), Ok(value)) = coders else {
            return Err(Error::Misuse(format!("echo to `{}`: its key or value type has no codec", self.topic)));
        };
        let topic = stage.outbox.topic(&self.topic)?;
        let name = self.topic.clone();
        Ok(Box::new(EchoPull {
            inner,
            stage: Arc::clone(stage),
            name,
            topic,
            key,
            value,
            waiting: None,
            sending: None,
        }))
    }
}

struct EchoPull<V, K> {
    inner: Box<dyn Pull<V, K>>,
    stage: Arc<RunningStage>,
    name: String,
    topic: Arc<dyn SinkTopic>,
    key: Coder<K>,
    value: Coder<V>,
    /// An item that is passed on once its message has been sent: the producer's buffer was full.
    waiting: Option<Item<V, K>>,
    sending: Option<Sending>,
}

impl<V: Data, K: Data> Pull<V, K> for EchoPull<V, K> {
    fn poll_pull(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item<V, K>>> {
        if let Some(sent) = ready!(poll_slot(&mut self.sending, cx)) {
            self.stage.cursor.gate.end_flight();
            if let Err(error) = sent {
                self.stage.cursor.fail(error.into());
                return Poll::Pending;
            }
        }
        if let Some(item) = self.waiting.take() {
            return Poll::Ready(Some(item));
        }
        let Some(item) = ready!(self.inner.poll_pull(cx)) else { return Poll::Ready(None) };
        match self.send(&item) {
            Ok(None) => Poll::Ready(Some(item)),
            Ok(Some(sending)) => {
                self.sending = Some(sending);
                self.stage.cursor.gate.begin_flight();
                self.waiting = Some(item);
                // Polled immediately, so that it can register its waker.
                self.poll_pull(cx)
            }
            Err(error) => {
                self.stage.cursor.fail(error);
                Poll::Pending
            }
        }
    }
}

impl<V: Data, K: Data> EchoPull<V, K> {
    /// Sends the item. Returns a future to wait for if the producer's buffer is full.
    fn send(&self, item: &Item<V, K>) -> Result<Option<Sending>, Error> {
        encode(&self.name, &self.key, &item.key, &self.value, &item.value, |key, payload| {
            let (headers, timestamp) = (item.meta.headers.clone(), Some(item.meta.timestamp));
            let message = Outgoing { partition: None, key, payload, headers, timestamp, last_header: None };
            Ok(self.stage.outbox.offer(&self.topic, &message)?)
        })?
    }
}
