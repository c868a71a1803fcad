//! The outbox of a task: the worker's producer, and the deliveries of the messages in flight.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::staging::Staging;
use super::timestamps::TimestampRules;
use crate::error::{Error, TransportError};
use crate::stats::Stats;
use crate::transport::{Delivery, Outgoing, SendRefused, Sender, Sink, SinkTopic, send_by};

/// The outbox of a task: the worker's producer, and the count of messages in flight.
pub(crate) struct Outbox {
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) stats: Arc<Stats>,
    /// The buffer of the messages, under exactly-once.
    pub(crate) staging: Option<Arc<Staging>>,
    /// Name of the topic for messages that cannot be decoded.
    pub(crate) dead_letter: String,
    timestamps: Arc<TimestampRules>,
    /// Messages sent since the last cut.
    current: ArcSwap<Delivery>,
    /// Messages sent before the last cut, some of which may still be in flight.
    ended: Mutex<Vec<Arc<Delivery>>>,
    topics: Topics,
    /// Topics whose messages carry any event time.
    carrying: Topics,
    /// Number of messages sent that the worker's counter does not include yet.
    uncounted: AtomicU64,
    /// A table of a stage has failed, possibly unnoticed by its agent: messages sent after that could contain wrong
    /// values.
    refuses: AtomicBool,
}

/// Handles of topics, by name.
type Topics = Mutex<BTreeMap<String, Arc<dyn SinkTopic>>>;

/// A send that waits for room, with its own copy of the message.
pub(crate) type Sending = BoxFuture<'static, Result<(), TransportError>>;

/// Number of messages after which the worker's counter is updated, unless a cut does so earlier.
const COUNT_EVERY: u64 = 64;

impl Drop for Outbox {
    fn drop(&mut self) {
        self.count();
    }
}

impl Outbox {
    pub(crate) fn new(
        sink: Arc<dyn Sink>,
        stats: Arc<Stats>,
        dead_letter: String,
        timestamps: Arc<TimestampRules>,
    ) -> Arc<Self> {
        Self::build(sink, None, stats, dead_letter, timestamps)
    }

    /// Creates an outbox that keeps its messages until a seal takes them.
    pub(crate) fn staged(
        staging: Arc<Staging>,
        stats: Arc<Stats>,
        dead_letter: String,
        timestamps: Arc<TimestampRules>,
    ) -> Arc<Self> {
        Self::build(staging.sink(), Some(staging), stats, dead_letter, timestamps)
    }

    fn build(
        sink: Arc<dyn Sink>,
        staging: Option<Arc<Staging>>,
        stats: Arc<Stats>,
        dead_letter: String,
        timestamps: Arc<TimestampRules>,
    ) -> Arc<Self> {
        Arc::new(Self {
            sink,
            staging,
            stats,
            dead_letter,
            timestamps,
            current: ArcSwap::new(Delivery::new()),
            ended: Mutex::default(),
            topics: Mutex::default(),
            carrying: Mutex::default(),
            uncounted: AtomicU64::new(0),
            refuses: AtomicBool::new(false),
        })
    }

    /// Returns the handle of a topic of the user, which is looked up once. A timestamp that the topic does not accept
    /// follows the setting `on_timestamp_error`.
    pub(crate) fn topic(&self, name: &str) -> Result<Arc<dyn SinkTopic>, Error> {
        looked_up(&self.topics, name, || Ok(self.timestamps.checked(name, self.sink.topic(name)?)))
    }

    /// Returns the handle of a topic whose messages carry their event time, whatever timestamps the topic accepts. For
    /// topics that Faust itself reads, and for dead letters.
    pub(crate) fn carrying_topic(&self, name: &str) -> Result<Arc<dyn SinkTopic>, Error> {
        looked_up(&self.carrying, name, || Ok(self.timestamps.carrying(name, self.sink.topic(name)?)))
    }

    /// Sends a message without waiting for room in the producer's buffer.
    pub(crate) fn try_send(&self, topic: &Arc<dyn SinkTopic>, message: &Outgoing<'_>) -> Result<(), SendRefused> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(SendRefused::Failed(TransportError::fatal("send", "a table of this agent has failed")));
        }
        topic.try_send(message, &self.current.load())?;
        // The counter is updated in batches: it is shared by the whole worker, and this code runs for every message.
        let uncounted = self.uncounted.fetch_add(1, Ordering::Relaxed) + 1;
        if uncounted.is_multiple_of(COUNT_EVERY) {
            self.count();
        }
        Ok(())
    }

    /// Rejects all further messages of these stages.
    pub(super) fn refuse(&self) {
        self.refuses.store(true, Ordering::Relaxed);
    }

    /// Sends a message, waiting for room in the producer's buffer as long as necessary.
    pub(crate) async fn send(&self, topic: &Arc<dyn SinkTopic>, message: &Outgoing<'_>) -> Result<(), TransportError> {
        send_by(&*self.sink, || self.try_send(topic, message)).await
    }

    /// Sends a message if there is room. Otherwise, returns a future that sends a copy of it once there is.
    pub(crate) fn offer(
        self: &Arc<Self>,
        topic: &Arc<dyn SinkTopic>,
        message: &Outgoing<'_>,
    ) -> Result<Option<Sending>, TransportError> {
        match self.try_send(topic, message) {
            Ok(()) => Ok(None),
            Err(SendRefused::Failed(error)) => Err(error),
            Err(SendRefused::Full) => Ok(Some(Arc::clone(self).send_copy(Arc::clone(topic), message))),
        }
    }

    fn send_copy(self: Arc<Self>, topic: Arc<dyn SinkTopic>, message: &Outgoing<'_>) -> Sending {
        let Outgoing { partition, mut headers, timestamp, .. } = message.clone();
        if let Some((name, value)) = message.last_header {
            headers.push(name.to_owned(), Some(Bytes::copy_from_slice(value)));
        }
        let [key, payload] = [message.key, message.payload].map(|bytes| bytes.map(Bytes::copy_from_slice));
        let sending = async move {
            let message = Outgoing {
                partition,
                key: key.as_deref(),
                payload: payload.as_deref(),
                headers,
                timestamp,
                last_header: None,
            };
            self.send(&topic, &message).await
        };
        sending.boxed()
    }

    /// Returns the number of messages that are not acknowledged yet.
    pub(crate) fn pending(&self) -> u64 {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        self.current.load().pending() + ended.iter().map(|delivery| delivery.pending()).sum::<u64>()
    }

    /// Separates the messages sent until now from later ones. Returns all deliveries that a commit at this moment has
    /// to wait for.
    pub(crate) fn cut(&self) -> Vec<Arc<Delivery>> {
        self.count();
        self.separate(Delivery::new()).clone()
    }

    /// Notes the events that send the messages from now on.
    pub(super) fn note_sender(&self, sender: Sender) {
        drop(self.separate(Delivery::by(sender)));
    }

    /// Starts the next delivery. Returns the earlier ones that are not fulfilled.
    fn separate(&self, next: Arc<Delivery>) -> MutexGuard<'_, Vec<Arc<Delivery>>> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|delivery| !delivery.is_fulfilled());
        ended.push(self.current.swap(next));
        ended
    }

    /// Waits until all messages sent so far have been acknowledged, and stops tracking them. For senders that are not
    /// part of a commit.
    pub(crate) async fn settle(&self, within: Duration) -> Result<(), TransportError> {
        let sent = self.cut();
        let arrived = async {
            for delivery in &sent {
                delivery.all().await?;
            }
            Ok(())
        };
        let arrived = tokio::time::timeout(within, arrived).await;
        let arrived = arrived.map_err(|_| {
            TransportError::retriable("flush", format!("not all messages were acknowledged within {within:?}"))
        })?;
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|delivery| !sent.iter().any(|settled| Arc::ptr_eq(settled, delivery)));
        arrived
    }

    fn count(&self) {
        self.stats.sent(self.uncounted.swap(0, Ordering::Relaxed));
    }
}

/// Returns the handle of a topic, which is looked up once.
fn looked_up(
    topics: &Topics,
    name: &str,
    look_up: impl FnOnce() -> Result<Arc<dyn SinkTopic>, Error>,
) -> Result<Arc<dyn SinkTopic>, Error> {
    let mut topics = topics.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(topic) = topics.get(name) {
        return Ok(Arc::clone(topic));
    }
    let topic = look_up()?;
    topics.insert(name.to_owned(), Arc::clone(&topic));
    Ok(topic)
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("current", &self.current).finish_non_exhaustive()
    }
}
