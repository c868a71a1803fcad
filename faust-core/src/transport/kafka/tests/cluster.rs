//! Test clusters, a listener that records events, and waiting with a deadline.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use faust_broker::{Broker, BrokerConfig, Port, Storage};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio::sync::{mpsc, oneshot};

use crate::config::OffsetReset;
use crate::error::TransportError;
use crate::message::Offset;
use crate::transport::Delivery;
use crate::transport::kafka::{KafkaConfig, KafkaTransport};
use crate::transport::port::*;

const WITHIN: Duration = Duration::from_secs(60);

/// A cluster with a topic and a group of the test's own.
pub(super) struct Cluster {
    pub(super) mock: Option<MockCluster<'static, DefaultProducerContext>>,
    /// The embedded broker, which is stopped when the test ends.
    _embedded: Option<Broker>,
    pub(super) config: KafkaConfig,
    pub(super) topic: Arc<str>,
    pub(super) group: String,
    /// The reset policy of the topic.
    pub(super) reset: OffsetReset,
}

impl Cluster {
    /// Starts librdkafka's mock cluster.
    pub(super) fn mock(partitions: i32) -> Self {
        let mock = MockCluster::new(1).unwrap();
        let cluster = Self::at(mock.bootstrap_servers());
        mock.create_topic(&cluster.topic, partitions, 1).unwrap();
        Self { mock: Some(mock), ..cluster }
    }

    /// Returns the clusters of [`kafkas`](Self::kafkas) and the mock cluster.
    pub(super) async fn each(partitions: i32) -> Vec<Self> {
        let mut clusters = Self::kafkas(partitions).await;
        clusters.push(Self::mock(partitions));
        clusters
    }

    /// Returns the embedded broker, and the real Kafka of `FAUST_TEST_KAFKA` if set. Unlike the mock cluster, they
    /// accept commits during a rebalance, and create topics.
    pub(super) async fn kafkas(partitions: i32) -> Vec<Self> {
        let server = Broker::start_with(BrokerConfig::new(Storage::Memory, Port::Any)).unwrap();
        let embedded = Self::at(server.bootstrap());
        let mut clusters = vec![Self { _embedded: Some(server), ..embedded }];
        clusters.extend(std::env::var("FAUST_TEST_KAFKA").ok().map(Self::at));
        for cluster in &clusters {
            let name = cluster.topic.to_string();
            let topic = NewTopic { name, partitions, replication: -1, configs: BTreeMap::new() };
            cluster.transport().admin().unwrap().create(vec![topic]).await.unwrap();
        }
        clusters
    }

    /// Returns the same cluster with another topic of one partition, which this creates.
    pub(super) async fn beside(&self, suffix: &str) -> Self {
        let other = Self { topic: format!("{}{suffix}", self.topic).into(), ..Self::at(self.config.bootstrap.clone()) };
        let topic =
            NewTopic { name: other.topic.to_string(), partitions: 1, replication: -1, configs: BTreeMap::new() };
        other.transport().admin().unwrap().create(vec![topic]).await.unwrap();
        other
    }

    fn at(bootstrap: String) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let unique = format!("adapter-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut config = KafkaConfig::new(bootstrap);
        config.session_timeout = Duration::from_secs(6);
        config.heartbeat_interval = Duration::from_millis(500);
        config.fetch_wait = Duration::from_millis(50);
        let (topic, group) = (unique.as_str().into(), format!("{unique}-group"));
        Self { mock: None, _embedded: None, config, topic, group, reset: OffsetReset::Earliest }
    }

    pub(super) fn transport(&self) -> KafkaTransport {
        KafkaTransport::new(self.config.clone())
    }

    /// Sends values without keys to one partition and waits for their delivery.
    pub(super) async fn fill(&self, partition: i32, values: impl IntoIterator<Item = i64>) {
        let sink = self.transport().sink().unwrap();
        let (topic, delivery) = (sink.topic(&self.topic).unwrap(), Delivery::new());
        for value in values {
            let payload = value.to_string();
            let message =
                Outgoing { partition: Some(partition), payload: Some(payload.as_bytes()), ..Outgoing::default() };
            topic.try_send(&message, &delivery).unwrap();
        }
        within("delivery", delivery.all()).await.unwrap();
    }

    /// Joins the group. The receiver yields the listener's events.
    pub(super) fn join(&self) -> (Arc<dyn Group>, Events) {
        self.join_holding(None)
    }

    /// Joins like [`join`](Self::join), with a revocation that waits for `hold`.
    pub(super) fn join_holding(&self, hold: Option<oneshot::Receiver<()>>) -> (Arc<dyn Group>, Events) {
        let topics = BTreeMap::from([(Arc::clone(&self.topic), self.reset)]);
        self.subscribe_holding(Subscription { group: self.group.clone(), topics, partitions: 4 }, hold)
    }

    /// Joins a group. The receiver yields the listener's events.
    pub(super) fn subscribe(&self, subscription: Subscription) -> (Arc<dyn Group>, Events) {
        self.subscribe_holding(subscription, None)
    }

    fn subscribe_holding(
        &self,
        subscription: Subscription,
        hold: Option<oneshot::Receiver<()>>,
    ) -> (Arc<dyn Group>, Events) {
        let (events, received) = mpsc::unbounded_channel();
        let listener = Recorder { events, hold: Mutex::new(hold) };
        (self.transport().join(subscription, Arc::new(listener)).unwrap(), Events(received))
    }
}

pub(super) enum Event {
    Assigned(Vec<Assigned>),
    Revoked(Vec<TopicPartition>, bool),
    OffsetsPending(Vec<TopicPartition>),
    Failed(TransportError),
    ConnectionWatch(bool),
}

pub(super) struct Events(mpsc::UnboundedReceiver<Event>);

impl Events {
    /// Waits for the next event that `pick` accepts, and discards others.
    pub(super) async fn until<T>(&mut self, what: &str, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        within(what, async {
            loop {
                if let Some(picked) = pick(self.0.recv().await.expect("the listener lives")) {
                    return picked;
                }
            }
        })
        .await
    }

    pub(super) async fn assigned(&mut self) -> Vec<Assigned> {
        self.until("assignment", |event| match event {
            Event::Assigned(partitions) => Some(partitions),
            _ => None,
        })
        .await
    }

    /// Waits for the assignment of `count` partitions. If a member joins during a rebalance, the group may rebalance
    /// once more than necessary; only the final assignment matters.
    pub(super) async fn assigned_of(&mut self, count: usize) -> Vec<Assigned> {
        self.until("assignment", |event| match event {
            Event::Assigned(partitions) => Some(partitions).filter(|partitions| partitions.len() == count),
            _ => None,
        })
        .await
    }

    pub(super) async fn revoked(&mut self) -> (Vec<TopicPartition>, bool) {
        self.until("revocation", |event| match event {
            Event::Revoked(partitions, lost) => Some((partitions, lost)),
            _ => None,
        })
        .await
    }

    /// Returns the pending events.
    pub(super) fn rest(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

struct Recorder {
    events: mpsc::UnboundedSender<Event>,
    hold: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Recorder {
    fn record(&self, event: Event) {
        // The test may have dropped the receiver.
        drop(self.events.send(event));
    }
}

impl crate::transport::port::Sealed for Recorder {}

impl GroupListener for Recorder {
    fn assigned(&self, partitions: Vec<Assigned>) {
        self.record(Event::Assigned(partitions));
    }

    fn revoked(&self, partitions: Vec<TopicPartition>, lost: bool) -> BoxFuture<'static, ()> {
        self.record(Event::Revoked(partitions, lost));
        let hold = self.hold.lock().unwrap().take();
        async move {
            if let Some(hold) = hold {
                // An error means that the test has ended.
                drop(hold.await);
            }
        }
        .boxed()
    }

    fn offsets_pending(&self, partitions: &[TopicPartition]) {
        self.record(Event::OffsetsPending(partitions.to_vec()));
    }

    fn failed(&self, error: TransportError) {
        self.record(Event::Failed(error));
    }

    fn connection(&self, up: bool, _: &str) {
        self.record(Event::ConnectionWatch(up));
    }
}

/// Reads `count` payloads as numbers.
pub(super) async fn read_numbers(assigned: &mut Assigned, count: usize) -> Vec<i64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let read = poll_fn(|cx| {
            assigned.queue.poll_batch(cx, count - numbers.len(), &mut |message| {
                numbers.push(std::str::from_utf8(message.payload.unwrap()).unwrap().parse().unwrap());
            })
        });
        within("messages", read).await.unwrap();
    }
    numbers
}

/// Awaits `future` and panics after a timeout that is far longer than necessary.
pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WITHIN, future).await.unwrap_or_else(|_| panic!("timed out after {WITHIN:?}: {what}"))
}

pub(super) fn at(offset: i64, metadata: &str) -> Committed {
    Committed { offset: Offset(offset), metadata: metadata.to_owned() }
}
