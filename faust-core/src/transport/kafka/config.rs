//! Settings of a Kafka connection, and the librdkafka properties derived from them.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use crate::config::MIN_FETCH_SHARE;
use crate::time::millis;

/// Settings for connecting to a cluster, and for its consumers and producers.
#[derive(Clone)]
pub struct KafkaConfig {
    /// `host:port` of one or more brokers, separated by commas.
    pub bootstrap: String,
    /// Name of this program in the brokers' logs and quotas.
    pub client_id: String,
    /// Name of this worker. If it is set, the client id of the group's member begins with it, and with it the id that the broker
    /// gives to the member: the members of a group are sorted by these ids, and a worker that is restarted gets its place again.
    pub worker_name: Option<String>,
    /// Time without a heartbeat after which the group reassigns this worker's partitions.
    pub session_timeout: Duration,
    /// Interval between heartbeats, at most a third of the session timeout.
    pub heartbeat_interval: Duration,
    /// Time for which a rebalance may keep this worker from polling before the group removes it.
    pub max_poll_interval: Duration,
    /// Maximum duration of a revocation. It must be well below `max_poll_interval`, or the other members would not wait
    /// for it.
    pub rebalance_budget: Duration,
    /// Time after which a request has failed.
    pub request_timeout: Duration,
    /// Bytes of messages to prefetch, for all partitions together.
    pub fetch_memory: usize,
    /// Maximum time a broker may hold a fetch for which it has no data. This is also the delay until a partition end is
    /// detected. librdkafka sends one fetch at a time and omits partitions whose queue is full, so these wait while a
    /// fetch for partitions at their end is held.
    pub fetch_wait: Duration,
    /// Maximum size of a batch in a produce request, in bytes.
    pub max_message_bytes: usize,
    /// Time for which a message waits for others to form a batch.
    pub linger: Duration,
    /// Bytes of messages waiting to be sent, for all topics together.
    pub producer_memory: usize,
    /// Time after which the delivery of a message has failed. With `None`, messages wait until brokers are available.
    pub delivery_timeout: Option<Duration>,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub compression: String,
    /// Name for static membership: this worker can restart within the session timeout without a rebalance.
    pub group_instance_id: Option<String>,
    /// Protocol of the consumer group, which determines who assigns the partitions.
    pub group_protocol: GroupProtocol,
    /// librdkafka properties by name, such as `security.protocol`. They override all settings above, so they must not
    /// include those that a promise depends on. A property with the prefix `consumer.` or `producer.` applies only to
    /// consumers or producers, and takes precedence over the same property without a prefix.
    pub settings: BTreeMap<String, String>,
}

/// Returns the features that librdkafka was built with, such as `ssl`, `sasl_plain` and `sasl_scram`.
///
/// ```
/// let features = faust::transport::kafka::build_features();
/// assert!(features.iter().any(|feature| feature == "gzip"), "{features:?}");
/// ```
pub fn build_features() -> Vec<String> {
    let features = ClientConfig::new().create_native_config().and_then(|config| config.get("builtin.features"));
    features.map_or_else(|_| Vec::new(), |list| list.split(',').map(|name| name.trim().to_owned()).collect())
}

/// The protocol of the consumer group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupProtocol {
    /// The members assign the partitions (range assignor).
    Classic,
    /// The broker assigns the partitions (KIP-848).
    Consumer,
}

impl KafkaConfig {
    /// Creates the default settings for the cluster at `bootstrap`.
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            client_id: "faust".to_owned(),
            worker_name: None,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            max_poll_interval: Duration::from_secs(300),
            rebalance_budget: Duration::from_secs(60),
            request_timeout: Duration::from_secs(30),
            fetch_memory: 32 << 20,
            fetch_wait: Duration::from_millis(50),
            max_message_bytes: 1 << 20,
            linger: Duration::from_millis(5),
            producer_memory: 64 << 20,
            delivery_timeout: None,
            compression: "none".to_owned(),
            group_instance_id: None,
            group_protocol: GroupProtocol::Classic,
            settings: BTreeMap::new(),
        }
    }

    /// Returns the properties of a member of `group`, which divides [`fetch_memory`](Self::fetch_memory) by
    /// `partitions`.
    pub(super) fn member(&self, group: &str, partitions: usize) -> ClientConfig {
        let mut client = self.reading(partitions);
        client.set("group.id", group);
        if let Some(worker) = &self.worker_name {
            // The slash ends the name: the order of two ids is that of the names, also if one begins with the other.
            client.set("client.id", format!("{worker}/{}", self.client_id));
        }
        client.set("max.poll.interval.ms", ms(self.max_poll_interval));
        // The end shows that no message follows the last one, but transaction markers or gaps may.
        client.set("enable.partition.eof", "true");
        match self.group_protocol {
            GroupProtocol::Classic => {
                client.set("partition.assignment.strategy", "range");
                client.set("session.timeout.ms", ms(self.session_timeout));
                client.set("heartbeat.interval.ms", ms(self.heartbeat_interval));
            }
            // The broker defines the timeouts; setting them makes the creation of the client fail.
            GroupProtocol::Consumer => {
                client.set("group.protocol", "consumer");
                client.set("group.remote.assignor", "range");
            }
        }
        if let Some(instance) = &self.group_instance_id {
            client.set("group.instance.id", instance);
        }
        self.overridden(client, "consumer.", true)
    }

    /// Returns the properties of a reader outside any group. librdkafka requires a group name to assign partitions, but
    /// never joins this group. Partition ends are detected only by an empty fetch, that is, after `wait`.
    pub(super) fn outsider(&self, partitions: usize, wait: Duration) -> ClientConfig {
        let mut client = self.reading(partitions);
        client.set("group.id", format!("{}-reader", self.client_id));
        client.set("enable.partition.eof", "true");
        let mut client = self.overridden(client, "consumer.", false);
        // Takes precedence over the user's value, which is meant for the group: a restore ends at a partition's end.
        client.set("fetch.wait.max.ms", ms(wait));
        client
    }

    /// Returns the properties of a reader like [`outsider`](Self::outsider) that never ends: with less memory, and with fewer requests.
    pub(super) fn follower(&self, partitions: usize) -> ClientConfig {
        let of_all = Self { fetch_memory: self.fetch_memory / 8, ..self.clone() };
        let mut client = of_all.outsider(partitions, FOLLOWER_WAIT);
        client.set("fetch.min.bytes", FOLLOWER_FETCH.to_string());
        client
    }

    /// Returns the properties of a client for lookups, for those of a `group` if one is given.
    pub(super) fn lookup(&self, group: Option<&str>) -> ClientConfig {
        let mut client = self.common();
        if let Some(group) = group {
            client.set("group.id", group).set("enable.auto.commit", "false");
        }
        // For committed offsets, it means to wait for those of transactions. For ends of partitions, it would mean the last stable offset,
        // and not the high watermark.
        client.set("isolation.level", if group.is_some() { "read_committed" } else { "read_uncommitted" });
        self.overridden(client, "consumer.", false)
    }

    /// Returns the properties of a client for the committed offsets of a group that does not wait for those of transactions.
    pub(super) fn look_in(&self, group: &str) -> ClientConfig {
        let mut client = self.lookup(Some(group));
        client.set("isolation.level", "read_uncommitted");
        client
    }

    /// Returns the properties of a producer.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut client = self.common();
        client.set("enable.idempotence", "true");
        // Java's partitioner: librdkafka's default would break co-partitioning.
        client.set("partitioner", "murmur2_random");
        client.set("linger.ms", ms(self.linger));
        client.set("batch.num.messages", "10000");
        client.set("message.max.bytes", self.max_message_bytes.to_string());
        client.set("compression.type", &self.compression);
        client.set("queue.buffering.max.messages", "100000");
        client.set("queue.buffering.max.kbytes", (self.producer_memory >> 10).clamp(64, 2_097_151).to_string());
        client.set("message.timeout.ms", self.delivery_timeout.map_or("0".to_owned(), ms));
        // Delay of a transaction's retry while the broker is still completing the previous transaction.
        client.set("retry.backoff.ms", "10");
        self.overridden(client, "producer.", true)
    }

    /// Returns the properties of the producer with a transactional id. A transaction is short: it begins with a commit, and never
    /// waits for user code.
    pub(super) fn transactional_producer(&self, id: &str) -> ClientConfig {
        let mut client = self.producer();
        client.set("transactional.id", id);
        client.set("transaction.timeout.ms", ms(TRANSACTION_TIMEOUT));
        client.set("message.timeout.ms", ms(TRANSACTION_TIMEOUT));
        client.set("socket.timeout.ms", ms(self.request_timeout.min(TRANSACTION_TIMEOUT / 2)));
        // librdkafka looks for the coordinator again only when a connection opens or closes: see `KafkaTransactions`.
        client.set("connections.max.idle.ms", ms(TRANSACTION_IDLE));
        // All messages of a transaction are sent at once, and fill batches without a delay.
        client.set("linger.ms", "0");
        client
    }

    fn reading(&self, partitions: usize) -> ClientConfig {
        // Split queues are limited individually, so the worker's budget is divided among them.
        let share = (self.fetch_memory / partitions.max(1)).clamp(MIN_FETCH_SHARE, 64 << 20);
        let mut client = self.common();
        client.set("enable.auto.commit", "false");
        client.set("enable.auto.offset.store", "false");
        client.set("isolation.level", "read_committed");
        // An offset out of range must be reported to the reader. The topics of a group have their own policies.
        client.set("auto.offset.reset", "error");
        client.set("queued.max.messages.kbytes", (share >> 10).to_string());
        client.set("fetch.message.max.bytes", share.min(1 << 20).to_string());
        client.set("fetch.wait.max.ms", ms(self.fetch_wait));
        // A broker answers with the first batch even if it is larger than every limit of a fetch, and librdkafka closes
        // the connection if it is larger than this.
        let largest = self.max_message_bytes.saturating_add(RESPONSE_FRAMING).max(self.largest_fetch());
        let largest = largest.clamp(MIN_RESPONSE, MAX_RESPONSE);
        client.set("receive.message.max.bytes", largest.to_string());
        // The default of one second makes a consumer 3 to 4 times slower once its queue has been full.
        client.set("fetch.queue.backoff.ms", "10");
        client
    }

    /// Returns the size of a response that librdkafka requires for the user's `fetch.max.bytes`, if that is set.
    fn largest_fetch(&self) -> usize {
        let set = |name| self.settings.get(name).and_then(|bytes: &String| bytes.parse::<usize>().ok());
        let fetch = set("consumer.fetch.max.bytes").or_else(|| set("fetch.max.bytes"));
        fetch.map_or(0, |bytes| bytes.saturating_add(512))
    }

    fn common(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.bootstrap);
        client.set("client.id", &self.client_id);
        client.set("socket.timeout.ms", ms(self.request_timeout));
        client.set("socket.keepalive.enable", "true");
        // A new client waits for half of this time before it connects to the brokers that the bootstrap server names.
        client.set("reconnect.backoff.ms", "20");
        client.set("reconnect.backoff.max.ms", "2000");
        client.set_log_level(RDKafkaLogLevel::Info);
        client
    }

    /// Applies the user's properties for one side. Only clients that are polled permanently report statistics: those of
    /// the others would accumulate in memory.
    fn overridden(&self, mut client: ClientConfig, side: &str, reports_statistics: bool) -> ClientConfig {
        let prefixed = |name: &str| name.starts_with("consumer.") || name.starts_with("producer.");
        let (of_sides, of_both): (Vec<_>, Vec<_>) = self.settings.iter().partition(|(name, _)| prefixed(name));
        let of_side = of_sides.into_iter().filter_map(|(name, value)| Some((name.strip_prefix(side)?, value)));
        for (name, value) in of_both.into_iter().map(|(name, value)| (name.as_str(), value)).chain(of_side) {
            if reports_statistics || name != STATISTICS {
                client.set(name, value);
            }
        }
        if client.get("debug").is_some() {
            client.set_log_level(RDKafkaLogLevel::Debug);
        }
        client
    }
}

/// Time after which the brokers abort an open transaction.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Time after which a connection of the transactional producer is closed if nothing was sent on it.
const TRANSACTION_IDLE: Duration = Duration::from_secs(3);
/// Maximum time that a broker holds a request of a follower, and the number of bytes for which it answers earlier.
const FOLLOWER_WAIT: Duration = Duration::from_millis(500);
const FOLLOWER_FETCH: usize = 64 << 10;
/// Bytes of a response beside the largest message.
const RESPONSE_FRAMING: usize = 2 << 20;
/// librdkafka's default of the maximum size of a response, which also fits its default for all messages of a fetch.
const MIN_RESPONSE: usize = 100_000_000;
/// librdkafka's upper bound of that size.
const MAX_RESPONSE: usize = i32::MAX as usize;

/// The interval at which a client reports its statistics.
const STATISTICS: &str = "statistics.interval.ms";

impl std::fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The settings may contain passwords, so only their names are shown.
        let names: Vec<_> = self.settings.keys().collect();
        f.debug_struct("KafkaConfig")
            .field("bootstrap", &self.bootstrap)
            .field("settings", &names)
            .finish_non_exhaustive()
    }
}

fn ms(duration: Duration) -> String {
    millis(duration).to_string()
}

#[cfg(test)]
mod tests {
    use rdkafka::error::KafkaError;
    use rdkafka::types::RDKafkaConfRes;

    use super::*;
    use crate::config::{ALLOWED, PropertyForm, REFUSED};

    #[test]
    fn fetch_memory_is_divided_among_partitions_within_bounds() {
        let mut config = KafkaConfig::new("localhost:1");
        for (memory, partitions, kbytes) in
            [(64 << 20, 4, "16384"), (64 << 20, 100_000, "64"), (1 << 40, 1, "65536"), (0, 0, "64")]
        {
            config.fetch_memory = memory;
            assert_eq!(config.member("g", partitions).get("queued.max.messages.kbytes"), Some(kbytes));
        }
    }

    #[test]
    fn the_largest_message_fits_in_a_response() {
        let mut config = KafkaConfig::new("localhost:1");
        for (message, response) in [(16 << 20, "100000000"), (100 << 20, "106954752"), (usize::MAX, "2147483647")] {
            config.max_message_bytes = message;
            for client in [config.member("g", 1), config.outsider(1, Duration::ZERO)] {
                assert_eq!(client.get("receive.message.max.bytes"), Some(response));
                client.create_native_config().expect("librdkafka accepts it");
            }
        }
    }

    fn with(properties: &[(&str, &str)]) -> KafkaConfig {
        let mut config = KafkaConfig::new("localhost:1");
        let owned = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        config.settings.extend(owned);
        config
    }

    #[test]
    fn a_librdkafka_property_overrides_and_may_apply_to_one_side() {
        let config = with(&[
            ("linger.ms", "7"),
            ("producer.batch.size", "100"),
            ("consumer.check.crcs", "true"),
            ("sasl.username", "me"),
            ("client.rack", "a"),
            ("consumer.client.rack", "b"),
        ]);
        let (producer, member) = (config.producer(), config.member("g", 1));
        assert_eq!(
            (producer.get("linger.ms"), producer.get("batch.size"), producer.get("check.crcs")),
            (Some("7"), Some("100"), None)
        );
        assert_eq!(
            (member.get("check.crcs"), member.get("batch.size"), member.get("sasl.username")),
            (Some("true"), None, Some("me"))
        );
        assert_eq!((producer.get("client.rack"), member.get("client.rack")), (Some("a"), Some("b")));
    }

    #[test]
    fn statistics_and_the_fetch_wait_of_the_group_do_not_reach_other_readers() {
        let config = with(&[("statistics.interval.ms", "1000"), ("fetch.wait.max.ms", "9000")]);
        let found = |client: &ClientConfig| {
            ["statistics.interval.ms", "fetch.wait.max.ms"].map(|name| client.get(name).map(str::to_owned))
        };
        let some = |value: &str| Some(value.to_owned());
        assert_eq!(found(&config.member("g", 1)), [some("1000"), some("9000")]);
        assert_eq!(found(&config.outsider(1, Duration::from_millis(10))), [None, some("10")]);
        assert_eq!(found(&config.lookup(None))[0], None);
        assert_eq!(found(&config.producer())[0], some("1000"));
    }

    /// Law: the lists of the settings fit this version of librdkafka, so that every fault is found without it.
    #[test]
    fn librdkafka_knows_every_listed_property_and_accepts_what_the_settings_accept() {
        let known = |name: &str, value: &str| match ClientConfig::new().set(name, value).create_native_config() {
            Ok(_) => true,
            Err(KafkaError::ClientConfig(result, ..)) => result == RDKafkaConfRes::RD_KAFKA_CONF_INVALID,
            Err(error) => panic!("{name}: {error}"),
        };
        for (name, _) in REFUSED {
            assert!(known(name, "?"), "{name}");
        }
        let mut refused = Vec::new();
        for (name, _, form) in ALLOWED {
            let values = match form {
                PropertyForm::Flag => vec!["true".to_owned(), "FALSE".to_owned(), "0".to_owned()],
                PropertyForm::Number(low, high) => vec![low.to_string(), high.to_string()],
                PropertyForm::OneOf(values) => values.iter().map(|value| (*value).to_owned()).collect(),
                PropertyForm::Text => {
                    assert!(known(name, "?"), "{name}");
                    Vec::new()
                }
            };
            let accepts = |value: &String| ClientConfig::new().set(*name, value).create_native_config().is_ok();
            refused.extend(values.into_iter().filter(|value| !accepts(value)).map(|value| (*name, value)));
        }
        // A build without the features for OpenSSL, curl or Cyrus SASL refuses the properties that need them.
        let optional = |text: &str| ["ssl", "sasl", "https"].iter().any(|part| text.contains(part));
        refused.retain(|(name, value)| !optional(name) && !optional(value));
        assert!(refused.is_empty(), "{refused:?}");
    }

    /// Law: the order of members is that of the names of their workers, and no other client has such an id.
    #[test]
    fn the_client_id_of_a_member_begins_with_the_name_of_its_worker() {
        let mut config = KafkaConfig::new("localhost:1");
        assert_eq!(config.member("g", 1).get("client.id"), Some("faust"));
        config.worker_name = Some("w-1".to_owned());
        assert_eq!(config.member("g", 1).get("client.id"), Some("w-1/faust"));
        for client in [config.outsider(1, Duration::ZERO), config.lookup(None), config.producer()] {
            assert_eq!(client.get("client.id"), Some("faust"));
        }
    }

    /// Law: a follower takes a part of the memory, and asks an idle broker rarely.
    #[test]
    fn a_follower_reads_with_less_memory_and_fewer_requests() {
        let config = with(&[("fetch.wait.max.ms", "9000")]);
        let follower = config.follower(4);
        let found = ["queued.max.messages.kbytes", "fetch.wait.max.ms", "fetch.min.bytes", "isolation.level"];
        let found = found.map(|name| follower.get(name));
        assert_eq!(found, ["1024", "500", "65536", "read_committed"].map(Some));
        follower.create_native_config().expect("librdkafka accepts it");
    }

    #[test]
    fn the_consumer_protocol_leaves_the_timeouts_to_the_broker() {
        let mut config = KafkaConfig::new("localhost:1");
        config.group_protocol = GroupProtocol::Consumer;
        let member = config.member("g", 1);
        assert_eq!((member.get("session.timeout.ms"), member.get("group.remote.assignor")), (None, Some("range")));
    }
}
