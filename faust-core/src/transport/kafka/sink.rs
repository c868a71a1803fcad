//! The producer: idempotent, polled by a thread of its own. It reports the outcome of every message to its sender.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;
use tracing::debug;

use super::config::KafkaConfig;
use super::connection::{self, ConnectionWatch};
use super::errors::{failed, kind_of_message, refused, unusable};
use super::native::{TopicHandle, flush, refresh_metadata};
use crate::error::TransportError;
use crate::message::Offset;
use crate::transport::delivery::Delivery;
use crate::transport::outage::Outage;
use crate::transport::port::{Outgoing, SendRefused, Sink, SinkTopic};
use crate::transport::send::delivery_of;

/// Maximum time to wait for room, because a delivery report may free some between the rejection and the wait.
const ROOM_WITHIN: Duration = Duration::from_millis(20);

/// A producer. Dropping it discards the messages that are still buffered: flush it first.
pub(super) struct KafkaSink {
    producer: Arc<ThreadedProducer<SinkContext>>,
    topics: Mutex<HashMap<String, Arc<KafkaTopic>>>,
    max_message_bytes: usize,
}

impl KafkaSink {
    pub(super) fn open(config: &KafkaConfig, outage: &Arc<Outage>) -> Result<Self, TransportError> {
        let sink = Self::with(&config.producer(), config, outage)?;
        hasten(&sink.producer);
        Ok(sink)
    }

    /// Opens a producer of transactions, which has to be initialized.
    pub(super) fn transactional(config: &KafkaConfig, outage: &Arc<Outage>, id: &str) -> Result<Self, TransportError> {
        Self::with(&config.transactional_producer(id), config, outage)
    }

    fn with(client: &ClientConfig, config: &KafkaConfig, outage: &Arc<Outage>) -> Result<Self, TransportError> {
        let context = SinkContext {
            connection: ConnectionWatch::default(),
            outage: Arc::clone(outage),
            room: Arc::default(),
            has_purged: AtomicBool::new(false),
            failed: Notify::new(),
        };
        let producer = client.create_with_context(context).map_err(|error| unusable("opening the producer", &error))?;
        let max_message_bytes = config.max_message_bytes;
        Ok(Self { producer: Arc::new(producer), topics: Mutex::default(), max_message_bytes })
    }

    pub(super) fn producer(&self) -> &ThreadedProducer<SinkContext> {
        &self.producer
    }
}

/// Number of metadata requests after which a new producer has its id: the first answer names the brokers, and the client
/// leaves the bootstrap server for them; the second is that of one of them.
const FIRST_REQUESTS: usize = 2;
/// Maximum time for one of them. Without a broker, the producer gets its id once there is one.
const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(1);

/// Makes librdkafka request the producer's id as soon as a broker is connected. It does so when metadata arrive, and tries
/// again after half a second if no broker is connected at that moment, which is the case for the first metadata.
fn hasten(producer: &Arc<ThreadedProducer<SinkContext>>) {
    let producer = Arc::clone(producer);
    let request = move || (0..FIRST_REQUESTS).all(|_| refresh_metadata(&producer, FIRST_REQUEST_WITHIN));
    let thread = std::thread::Builder::new().name("faust-producer-start".to_owned());
    // Without the thread, the first messages are sent half a second later.
    drop(thread.spawn(request));
}

impl fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaSink({} in flight)", self.producer.in_flight_count())
    }
}

impl crate::transport::port::Sealed for KafkaSink {}

impl Sink for KafkaSink {
    fn topic(&self, name: &str) -> Result<Arc<dyn SinkTopic>, TransportError> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = topics.get(name) {
            return Ok(Arc::<KafkaTopic>::clone(topic));
        }
        let handle =
            TopicHandle::open(&self.producer, name).map_err(|code| refused(format!("topic `{name}`"), code))?;
        let (name, max_bytes) = (name.to_owned(), self.max_message_bytes);
        let topic = Arc::new(KafkaTopic { name: name.clone(), handle, max_bytes });
        topics.insert(name, Arc::clone(&topic));
        Ok(topic)
    }

    fn room(&self) -> BoxFuture<'_, ()> {
        let room = Arc::clone(&self.producer.context().room);
        async move {
            let freed = room.freed.notified();
            room.wanted.store(true, Ordering::Relaxed);
            // The caller tries again in either case.
            drop(tokio::time::timeout(ROOM_WITHIN, freed).await);
        }
        .boxed()
    }

    fn flush(&self, within: Duration) -> BoxFuture<'_, Result<(), TransportError>> {
        let producer = Arc::clone(&self.producer);
        async move {
            let flushed =
                tokio::task::spawn_blocking(move || (flush(&producer, within), producer.in_flight_count())).await;
            match flushed {
                Ok((true, _)) => Ok(()),
                Ok((false, left)) => Err(TransportError::retriable(
                    "flush",
                    format!("{left} messages were not delivered within {within:?}"),
                )),
                Err(error) => Err(TransportError::fatal("flush", error)),
            }
        }
        .boxed()
    }

    fn lost(&self) -> BoxFuture<'_, TransportError> {
        async move {
            let client = self.producer.client();
            loop {
                let failed = self.producer.context().failed.notified();
                tokio::pin!(failed);
                // From now on: the producer may fail after the look.
                failed.as_mut().enable();
                // The callback gets the code of the cause, and not that the error is fatal.
                if let Some((code, reason)) = client.fatal_error() {
                    let fix = match code {
                        RDKafkaErrorCode::ClusterAuthorizationFailed => {
                            "grant the right `IdempotentWrite` on the cluster, which brokers before Kafka 3.0 require"
                        }
                        _ => "restart the worker, which continues at its last commit",
                    };
                    let why = format!("it has failed for good ({code}: {reason}): {fix}");
                    return TransportError::retriable("the producer", why);
                }
                failed.await;
            }
        }
        .boxed()
    }
}

/// One topic of a producer.
struct KafkaTopic {
    name: String,
    handle: TopicHandle<SinkContext>,
    /// Maximum size of a message.
    max_bytes: usize,
}

impl crate::transport::port::Sealed for KafkaTopic {}

impl SinkTopic for KafkaTopic {
    fn try_send(&self, message: &Outgoing<'_>, delivery: &Arc<Delivery>) -> Result<(), SendRefused> {
        message.check_timestamp(&self.name).map_err(SendRefused::Failed)?;
        // Count the message before sending it: its delivery report may arrive before the call returns.
        delivery.sent();
        let refusal = match self.handle.send(message, Arc::clone(delivery)) {
            Ok(()) => return Ok(()),
            Err(RDKafkaErrorCode::QueueFull) => SendRefused::Full,
            Err(code) => {
                let error = refused(format!("sending to `{}`", self.name), code);
                let error = TransportError { kind: kind_of_message(code), ..error };
                // The producer has failed for good, which is no failure of the sender.
                if code == RDKafkaErrorCode::Fatal {
                    delivery.done(Err(error));
                    return Ok(());
                }
                SendRefused::Failed(error)
            }
        };
        delivery.done(Ok(None));
        Err(refusal)
    }

    fn check(&self, message: &Outgoing<'_>) -> Result<(), TransportError> {
        message.check_timestamp(&self.name)?;
        if message.max_wire_size() > self.max_bytes {
            return Err(refused(format!("sending to `{}`", self.name), RDKafkaErrorCode::MessageSizeTooLarge));
        }
        Ok(())
    }
}

/// The callbacks of the producer.
pub(super) struct SinkContext {
    connection: ConnectionWatch,
    outage: Arc<Outage>,
    room: Arc<Room>,
    /// Messages were discarded by an abort.
    has_purged: AtomicBool,
    /// Notified of each error other than an outage.
    failed: Notify,
}

impl SinkContext {
    /// Returns whether messages were discarded by an abort.
    pub(super) fn has_purged(&self) -> bool {
        self.has_purged.load(Ordering::Acquire)
    }
}

/// Notifies tasks that wait for room in the buffer.
#[derive(Default)]
struct Room {
    wanted: AtomicBool,
    freed: Notify,
}

impl ClientContext for SinkContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        connection::log(level, facility, line);
    }

    fn stats_raw(&self, json: &[u8]) {
        connection::log_statistics(json);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if !connection::means_down(&error) {
            self.failed.notify_waiters();
            self.outage.failed(reason);
            self.connection.doubt();
            debug!(target: "faust::kafka", "producer: {error}: {reason}");
        } else if self.connection.went_down() {
            // A worker is informed by its consumer, a user by the command line. The producer itself cannot determine
            // whether any message is waiting, so it does not warn.
            debug!(target: "faust::kafka", "producer: {reason}; messages stay in its buffer");
        }
    }
}

impl ProducerContext for SinkContext {
    type DeliveryOpaque = Arc<Delivery>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivery: Arc<Delivery>) {
        match result {
            Ok(message) => {
                if !self.connection.is_up() && self.connection.came_up() {
                    self.outage.answered();
                    debug!(target: "faust::kafka", "producer: the brokers accept messages");
                }
                match message.offset() {
                    offset @ 0.. => delivery.done(Ok(Some(Offset(offset)))),
                    _ => delivery.done_at_unknown_offset(),
                }
            }
            Err((error, message)) => {
                let what = delivery_of(message.topic(), message.key(), message.payload());
                if matches!(
                    error.rdkafka_error_code(),
                    Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight)
                ) {
                    self.has_purged.store(true, Ordering::Release);
                }
                let failed = failed(what, error);
                let kind = error.rdkafka_error_code().map_or(failed.kind, kind_of_message);
                delivery.done(Err(TransportError { kind, ..failed }));
            }
        }
        if self.room.wanted.load(Ordering::Relaxed) && self.room.wanted.swap(false, Ordering::Relaxed) {
            self.room.freed.notify_waiters();
        }
    }
}
