//! The broker of a test: an embedded one of its own, or the Kafka of `FAUST_TEST_KAFKA`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use faust::transport::{
    self, Committed, NewTopic, PROMPT, Read, Sink, SinkTopic, StartAt, TopicPartition, TransportError, Watermarks,
};
use faust::{App, AppBuilder, Client, Offset, Worker};
use faust_broker::{Broker, BrokerConfig, Port, Storage};
use faust_core::transport::Delivery;
use tempfile::TempDir;

use super::message::Message;
use super::wait::{LONG, answer, wait_for};

/// A Kafka cluster without data of this test.
///
/// On a real Kafka, topics are deleted before they are created, so tests that run concurrently must not share names.
/// App ids come from [`id`](Self::id), which makes them unique to this run.
pub(crate) struct Cluster {
    server: Option<Broker>,
    is_real: bool,
    bootstrap: String,
    client: Client,
    /// The producer of all messages, because opening one takes librdkafka a second.
    sink: Arc<dyn Sink>,
    /// Data directories of workers, deleted when the test ends.
    dir: TempDir,
}

impl Cluster {
    /// Starts an embedded broker in memory, or connects to the Kafka of `FAUST_TEST_KAFKA`.
    pub(crate) async fn start() -> Self {
        match std::env::var("FAUST_TEST_KAFKA") {
            Ok(bootstrap) => Self::connect(None, bootstrap).await,
            Err(_) => Self::embedded(BrokerConfig::default()).await,
        }
    }

    /// Starts an embedded broker with a directory and a fixed port, regardless of `FAUST_TEST_KAFKA`, for tests that
    /// stop the broker.
    pub(crate) async fn durable() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::Directory(dir.path().join("broker"));
        let server = Broker::start_with(BrokerConfig::new(storage, Port::Any)).unwrap();
        let bootstrap = server.bootstrap();
        Self { dir, ..Self::connect(Some(server), bootstrap).await }
    }

    /// Connects to a broker that is already running.
    pub(crate) async fn at(bootstrap: &str) -> Self {
        Self::connect(None, bootstrap.to_owned()).await
    }

    /// Starts an embedded broker with these settings, regardless of `FAUST_TEST_KAFKA`.
    pub(crate) async fn embedded(config: BrokerConfig) -> Self {
        let server = Broker::start_with(config).unwrap();
        let bootstrap = server.bootstrap();
        Self::connect(Some(server), bootstrap).await
    }

    async fn connect(server: Option<Broker>, bootstrap: String) -> Self {
        // `RUST_LOG=info cargo test --test it NAME -- --nocapture` shows the log of a test's workers.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        drop(tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init());
        let client = App::new("test").setting("broker", &bootstrap).client().await.unwrap();
        let sink = client.transport().sink().unwrap();
        Self { is_real: server.is_none(), server, bootstrap, client, sink, dir: tempfile::tempdir().unwrap() }
    }

    /// Returns the bootstrap address for clients.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Returns whether this is the Kafka of `FAUST_TEST_KAFKA`.
    pub(crate) fn is_real(&self) -> bool {
        self.is_real
    }

    /// Creates a directory for this test.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Stops the embedded broker. Its port then refuses connections.
    pub(crate) fn stop_broker(&mut self) {
        self.server.take().expect("only an embedded broker can be stopped, and only once").stop().unwrap();
    }

    /// Restarts a broker of [`durable`](Self::durable) with the same port and directory.
    pub(crate) fn start_broker(&mut self) {
        let port = self.bootstrap.rsplit(':').next().unwrap().parse().unwrap();
        let storage = Storage::Directory(self.dir.path().join("broker"));
        self.server = Some(Broker::start_with(BrokerConfig::new(storage, Port::Exact(port))).unwrap());
    }

    /// Returns an app id that no other run of the suite has used.
    pub(crate) fn id(&self, name: &str) -> String {
        if self.is_real() { format!("{name}-{}", std::process::id()) } else { name.to_owned() }
    }

    /// Returns the builder of an app on this cluster, without agents, that commits and detects failures quickly.
    pub(crate) fn app(&self, id: &str) -> AppBuilder {
        self.app_with(id, quick_settings(&self.bootstrap))
    }

    /// Like [`app`](Self::app), for a group whose partitions the broker assigns, which also decides when members have failed.
    pub(crate) fn app_where_the_broker_assigns(&self, id: &str) -> AppBuilder {
        let mut settings = quick_settings(&self.bootstrap);
        settings.retain(|(name, _)| !["broker_session_timeout", "broker_heartbeat_interval"].contains(name));
        self.app_with(id, settings).setting("group_protocol", "consumer")
    }

    fn app_with(&self, id: &str, settings: Vec<(&'static str, String)>) -> AppBuilder {
        let id = self.id(id);
        let builder = App::new(&id).setting("datadir", self.dir(&id).display());
        settings.into_iter().fold(builder, |builder, (name, value)| builder.setting(name, value))
    }

    /// Builds the app, starts a worker and waits until its partitions are assigned.
    pub(crate) async fn run(&self, app: AppBuilder) -> Worker {
        let worker = app.build().unwrap().start().await.unwrap();
        worker.ready().await;
        worker
    }

    /// Creates an empty topic.
    pub(crate) async fn create(&self, topic: &str, partitions: i32) {
        // A real Kafka looks for expired messages every five minutes, and many tests send old ones.
        self.create_with(topic, partitions, &[("retention.ms", "-1")]).await;
    }

    /// Creates an empty topic with topic configs by Kafka's names.
    pub(crate) async fn create_with(&self, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
        let admin = self.client.transport().admin().unwrap();
        if self.is_real() {
            admin.delete(vec![topic.to_owned()]).await.unwrap();
        }
        let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let new = NewTopic { name: topic.to_owned(), partitions, replication: 1, configs };
        // Kafka completes deletions and creations after it has responded.
        wait_for(&format!("topic `{topic}`"), LONG, async || {
            admin.create(vec![new.clone()]).await.unwrap();
            self.partitions(topic).await == Some(partitions)
        })
        .await;
    }

    /// Creates a topic with a name that was never used before.
    pub(crate) async fn declare(&self, topic: &str, partitions: i32) {
        let new = NewTopic { name: topic.to_owned(), partitions, replication: 1, configs: BTreeMap::new() };
        wait_for(&format!("topic `{topic}`"), LONG, async || {
            let created = self.client.transport().admin().unwrap().create(vec![new.clone()]).await;
            created.is_ok() && self.partitions(topic).await == Some(partitions)
        })
        .await;
    }

    /// Deletes the topic, if it exists.
    pub(crate) async fn delete(&self, topic: &str) {
        let admin = self.client.transport().admin().unwrap();
        answer("deletion", async || admin.delete(vec![topic.to_owned()]).await).await;
        wait_for(&format!("deletion of topic `{topic}`"), LONG, async || self.partitions(topic).await.is_none()).await;
    }

    /// Deletes the records before the offset from a compacted topic.
    pub(crate) async fn delete_records(&self, topic: &str, partition: i32, before: Offset) {
        // Kafka rejects the deletion of records from a topic that is only compacted.
        self.configure(topic, "cleanup.policy", "compact,delete").await;
        self.delete_records_of(topic, partition, before).await;
        self.configure(topic, "cleanup.policy", "compact").await;
    }

    /// Deletes the records before the offset from a topic that is not compacted, as its retention does.
    pub(crate) async fn delete_records_of(&self, topic: &str, partition: i32, before: Offset) {
        let before = BTreeMap::from([(TopicPartition::new(topic, partition), before)]);
        let admin = self.client.transport().admin().unwrap();
        // Kafka applies topic configs after it has responded.
        wait_for("deleted records", LONG, async || admin.delete_records(before.clone()).await.is_ok()).await;
    }

    /// Returns the topic's number of partitions, if it exists.
    pub(crate) async fn partitions(&self, topic: &str) -> Option<i32> {
        let admin = self.client.transport().admin().unwrap();
        answer("topics", async || admin.topics(Some(vec![topic.to_owned()])).await).await.get(topic).copied()
    }

    /// Produces the messages in order and waits until the broker has all of them.
    pub(crate) async fn produce(&self, topic: &str, messages: impl IntoIterator<Item = Message>) {
        self.producer(topic).send_all(messages).await;
    }

    /// Returns a producer for one topic.
    pub(crate) fn producer(&self, topic: &str) -> Producer {
        Producer { sink: Arc::clone(&self.sink), topic: self.sink.topic(topic).unwrap() }
    }

    /// Reads all messages of the topic up to its current end, sorted by partition and offset.
    pub(crate) async fn read(&self, topic: &str) -> Vec<Message> {
        let ends: BTreeMap<_, _> =
            self.watermarks(topic).await.into_iter().filter(|(_, (low, high))| low < high).collect();
        let from = ends.keys().map(|partition| (partition.clone(), StartAt::Earliest)).collect();
        let mut left: BTreeMap<_, _> = ends.into_iter().map(|(partition, (_, high))| (partition, high)).collect();
        let mut messages = Vec::new();
        if left.is_empty() {
            return messages;
        }
        let mut reader = self.client.transport().read(from, PROMPT).unwrap();
        while !left.is_empty() {
            match reader.next(LONG).await.unwrap().unwrap_or_else(|| panic!("no messages from `{topic}`: {left:?}")) {
                Read::Message(partition, message) => {
                    let Some(&end) = left.get(&partition) else { continue };
                    if message.offset < end {
                        messages.push(Message::read(&partition, &message));
                    }
                    if message.offset.next() >= end {
                        left.remove(&partition);
                    }
                }
                Read::End(partition) => drop(left.remove(&partition)),
            }
        }
        messages.sort_by_key(Message::place);
        messages
    }

    /// Returns the values of [`read`](Self::read) as text.
    pub(crate) async fn texts(&self, topic: &str) -> Vec<String> {
        self.read(topic).await.iter().map(Message::text).collect()
    }

    /// Waits until the topic has `count` messages in all, and reads them. Panics if it has more.
    pub(crate) async fn read_count(&self, topic: &str, count: usize) -> Vec<Message> {
        wait_for(&format!("{count} messages in `{topic}`"), LONG, async || self.count(topic).await >= count).await;
        let messages = self.read(topic).await;
        assert_eq!(messages.len(), count, "messages in `{topic}`");
        messages
    }

    /// Returns the number of messages in the topic.
    pub(crate) async fn count(&self, topic: &str) -> usize {
        // Not the difference of the watermarks: transactions end in offsets of their own.
        self.read(topic).await.len()
    }

    /// Returns the log start offset and the high watermark of each partition; none if the topic does not exist.
    pub(crate) async fn watermarks(&self, topic: &str) -> Watermarks {
        let partitions = self.partitions(topic).await.unwrap_or(0);
        let of: Vec<_> = (0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect();
        let admin = self.client.transport().admin().unwrap();
        answer("watermarks", async || admin.watermarks(of.clone()).await).await
    }

    /// Returns the group's committed offsets for the topic, by partition. Partitions without one are omitted.
    pub(crate) async fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, Committed> {
        answer("committed offsets", async || self.try_committed(group, topic).await).await
    }

    /// Like [`committed`](Self::committed), for a broker that may be unavailable.
    pub(crate) async fn try_committed(
        &self,
        group: &str,
        topic: &str,
    ) -> Result<BTreeMap<i32, Committed>, TransportError> {
        let admin = self.client.transport().admin()?;
        let topics = admin.topics(Some(vec![topic.to_owned()])).await?;
        let partitions = topics.get(topic).copied().unwrap_or(0);
        let of = (0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect();
        let committed = admin.committed(group, of).await?;
        Ok(committed.into_iter().map(|(place, committed)| (place.partition, committed)).collect())
    }

    /// Deletes a group with its committed offsets.
    pub(crate) async fn delete_group(&self, group: &str) {
        let admin = self.client.transport().admin().unwrap();
        answer("deletion of a group", async || admin.delete_group(group).await).await;
    }

    /// Returns the sum of the group's committed offsets, which is the number of committed messages if logs start at 0.
    pub(crate) async fn done(&self, group: &str, topic: &str) -> usize {
        let committed = self.committed(group, topic).await;
        committed.values().map(|committed| usize::try_from(committed.offset.0).unwrap()).sum()
    }

    /// Waits until the group has committed `count` messages of the topic.
    pub(crate) async fn wait_done(&self, group: &str, topic: &str, count: usize) {
        let what = format!("{count} messages of `{topic}` to be committed by `{group}`");
        wait_for(&what, LONG, async || self.done(group, topic).await >= count).await;
    }
}

/// Returns the settings of workers under test, in this process or in a process of their own. `FAUST_TEST_GUARANTEE` sets their
/// guarantee.
pub(crate) fn quick_settings(bootstrap: &str) -> Vec<(&'static str, String)> {
    let guarantee = std::env::var("FAUST_TEST_GUARANTEE").ok();
    let guarantee = guarantee.map(|guarantee| ("processing_guarantee", guarantee));
    let settings = [
        ("broker", bootstrap),
        ("broker_commit_interval", "100ms"),
        ("broker_session_timeout", "6s"),
        ("broker_heartbeat_interval", "500ms"),
        ("topic_partitions", "4"),
        ("agent_backoff_min", "10ms"),
        ("producer_linger", "1ms"),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    settings.into_iter().chain(guarantee).collect()
}

/// A producer for one topic.
pub(crate) struct Producer {
    sink: Arc<dyn Sink>,
    topic: Arc<dyn SinkTopic>,
}

impl Producer {
    /// Sends the messages in order and waits until the broker has all of them.
    pub(crate) async fn send_all(&self, messages: impl IntoIterator<Item = Message>) {
        let delivery = Delivery::new();
        for message in messages {
            transport::send(&*self.sink, &*self.topic, &message.outgoing(), &delivery).await.unwrap();
        }
        tokio::time::timeout(LONG, delivery.all()).await.expect("delivery of the messages").unwrap();
    }
}
