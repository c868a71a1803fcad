//! The feeder: an idempotent producer that sends events at a steady rate and gives none up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use super::event::{FedEvent, KEYS};
use crate::BoxError;
use crate::topics::{EXPIRES_MS, INPUT, WINDOW_MS};

/// Interval at which events are sent.
const BEAT: Duration = Duration::from_millis(5);
/// Time without a delivery after which the last events are given up, and the run fails.
const PATIENCE: Duration = Duration::from_secs(180);

/// Counts deliveries.
#[derive(Default)]
struct Deliveries {
    delivered: AtomicU64,
    failed: AtomicU64,
}

/// Passes the reports of deliveries on.
struct Reports(Arc<Deliveries>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        let count = if result.is_ok() { &self.0.delivered } else { &self.0.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// A running feeder.
pub(crate) struct Feeder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Fed, BoxError>>,
}

/// The events that were fed.
pub(crate) struct Fed {
    /// Number of events.
    pub(crate) count: u64,
    /// Time from the first to the last one.
    pub(crate) took: Duration,
    /// The timestamp that comes next, in milliseconds since 1970.
    next_time: i64,
}

impl Feeder {
    /// Starts feeding events at this rate per second.
    pub(crate) fn start(bootstrap: &str, seed: u64, rate: u64) -> Result<Self, BoxError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, sender) = (Arc::clone(&stop), Sender::new(bootstrap)?);
        let thread = std::thread::spawn(move || feed(sender, seed, rate, &stopped));
        Ok(Self { stop, thread })
    }

    /// Stops feeding, and waits until every event is acknowledged.
    ///
    /// # Errors
    /// Fails if an event was not delivered.
    pub(crate) fn stop(self) -> Result<Fed, BoxError> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the feeder panicked")?
    }
}

/// Feeds one more event for each key, late enough to close all windows before. Returns the number of events.
pub(crate) fn feed_last_lap(bootstrap: &str, seed: u64, before: &Fed) -> Result<u64, BoxError> {
    let sender = Sender::new(bootstrap)?;
    let time = before.next_time + WINDOW_MS + EXPIRES_MS;
    for n in 0..KEYS {
        sender.send(&FedEvent::last_lap(seed, n), time)?;
    }
    sender.finish()?;
    Ok(KEYS)
}

fn feed(sender: Sender, seed: u64, rate: u64, stop: &AtomicBool) -> Result<Fed, BoxError> {
    let start = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    // Event time follows from the number of the event, so that the windows do, too.
    let time = |n: u64| start + i64::try_from(n * 1_000 / rate).unwrap_or_default();
    let (began, mut sent) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        // The number of events due is computed from the total elapsed time, so that a delayed beat is compensated.
        let due = began.elapsed().as_millis() * u128::from(rate) / 1_000;
        while u128::from(sent) < due && !stop.load(Ordering::Relaxed) {
            sender.send(&FedEvent::random(seed, sent), time(sent))?;
            sent += 1;
        }
        sender.producer.poll(BEAT);
    }
    let took = began.elapsed();
    sender.finish()?;
    Ok(Fed { count: sent, took, next_time: time(sent) })
}

/// A producer that waits instead of failing.
struct Sender {
    producer: BaseProducer<Reports>,
    deliveries: Arc<Deliveries>,
}

impl Sender {
    fn new(bootstrap: &str) -> Result<Self, BoxError> {
        let deliveries = Arc::new(Deliveries::default());
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("client.id", "chaos-feeder")
            .set("enable.idempotence", "true")
            // Without a limit, no message is given up.
            .set("message.timeout.ms", "0")
            .set("partitioner", "murmur2_random")
            .set("compression.type", "lz4")
            .set("linger.ms", "20");
        let producer = config.create_with_context(Reports(Arc::clone(&deliveries)))?;
        Ok(Self { producer, deliveries })
    }

    /// Sends an event, and waits while the producer's queue is full.
    fn send(&self, event: &FedEvent, time: i64) -> Result<(), BoxError> {
        let payload = event.value.to_string();
        loop {
            let record = BaseRecord::to(INPUT).key(&event.key).payload(&payload).timestamp(time);
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.producer.poll(BEAT);
                }
                Err((error, _)) => return Err(format!("the feeder cannot send: {error}").into()),
            }
        }
    }

    /// Waits until every event is acknowledged.
    fn finish(&self) -> Result<(), BoxError> {
        let (mut left, mut progress) = (self.producer.in_flight_count(), Instant::now());
        while left > 0 {
            self.producer.poll(BEAT);
            let now = self.producer.in_flight_count();
            if now != left {
                (left, progress) = (now, Instant::now());
            }
            if progress.elapsed() > PATIENCE {
                return Err(format!("{left} events of the feeder are not acknowledged after {PATIENCE:?}").into());
            }
        }
        match self.deliveries.failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            failed => Err(format!("{failed} events of the feeder could not be delivered").into()),
        }
    }
}
