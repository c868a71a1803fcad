//! What can be set about a Kafka connection, and the librdkafka properties that follow from it.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use crate::time::millis;

/// How to reach a cluster and how to behave there.
#[derive(Clone)]
pub struct KafkaConfig {
    /// Host and port of one or more brokers, separated by commas.
    pub bootstrap: String,
    /// What brokers call this program in their logs and quotas.
    pub client_id: String,
    /// After this long without a heartbeat the group gives this worker's partitions to others.
    pub session_timeout: Duration,
    /// How often the group hears from this worker; at most a third of the session timeout.
    pub heartbeat_interval: Duration,
    /// How long a rebalance may keep this worker from polling before the group drops it.
    pub max_poll_interval: Duration,
    /// How long a revocation may take; well under `max_poll_interval`, or the others would not wait for it.
    pub rebalance_budget: Duration,
    /// How long one request may take before it counts as failed.
    pub request_timeout: Duration,
    /// Where to begin without a committed offset.
    pub auto_offset_reset: OffsetReset,
    /// Bytes of messages read ahead, of all partitions together.
    pub fetch_memory: usize,
    /// How long a broker may hold a fetch for which it has no data; also the delay until an end is noticed. librdkafka
    /// has one fetch at a time, and leaves out partitions whose queue is full: those wait for one that is at its end.
    pub fetch_wait: Duration,
    /// The largest batch a request to write may carry, in bytes.
    pub max_message_bytes: usize,
    /// How long a message waits for others to share a request with.
    pub linger: Duration,
    /// Bytes of messages waiting to be sent, of all topics together.
    pub producer_memory: usize,
    /// When to give a message up; `None` waits for brokers as long as they are away.
    pub delivery_timeout: Option<Duration>,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub compression: String,
    /// A lasting name of this worker: it may restart within the session timeout without a rebalance.
    pub group_instance_id: Option<String>,
    /// Who assigns the partitions.
    pub group_protocol: GroupProtocol,
    /// Whether queues notice the ends of partitions, as `--until-idle` needs.
    pub partition_eof: bool,
    /// Any librdkafka property by its name, such as `security.protocol`; wins over all above. A name that begins with
    /// `consumer.` or `producer.` holds for that side only.
    pub settings: BTreeMap<String, String>,
}

/// Where a partition without a (valid) committed offset begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetReset {
    /// With the oldest message kept.
    Earliest,
    /// With what comes from now on.
    Latest,
    /// Nowhere: it is an error, [`OffsetOutOfRange`](crate::error::TransportErrorKind::OffsetOutOfRange).
    None,
}

/// The protocol of the consumer group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// The members assign (range assignor).
    Classic,
    /// The broker assigns (KIP-848).
    Consumer,
}

impl KafkaConfig {
    /// Defaults for a cluster at `bootstrap`.
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            client_id: "faust".to_owned(),
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            max_poll_interval: Duration::from_secs(300),
            rebalance_budget: Duration::from_secs(60),
            request_timeout: Duration::from_secs(30),
            auto_offset_reset: OffsetReset::Earliest,
            fetch_memory: 32 << 20,
            fetch_wait: Duration::from_millis(50),
            max_message_bytes: 1 << 20,
            linger: Duration::from_millis(5),
            producer_memory: 64 << 20,
            delivery_timeout: None,
            compression: "none".to_owned(),
            group_instance_id: None,
            group_protocol: GroupProtocol::Classic,
            partition_eof: false,
            settings: BTreeMap::new(),
        }
    }

    /// For a member of `group` that shares [`fetch_memory`](Self::fetch_memory) out to `partitions`.
    pub(super) fn member(&self, group: &str, partitions: usize) -> ClientConfig {
        let mut client = self.reading(partitions);
        client.set("group.id", group);
        client.set("max.poll.interval.ms", ms(self.max_poll_interval));
        client.set("enable.partition.eof", self.partition_eof.to_string());
        // For what retention deletes before it is read. librdkafka says so in the log; a queue could not go on by itself,
        // since a member that has stopped fetching starts again only with the next assignment.
        let reset = match self.auto_offset_reset {
            OffsetReset::Earliest => "earliest",
            OffsetReset::Latest => "latest",
            OffsetReset::None => "error",
        };
        client.set("auto.offset.reset", reset);
        match self.group_protocol {
            GroupProtocol::Classic => {
                client.set("partition.assignment.strategy", "range");
                client.set("session.timeout.ms", ms(self.session_timeout));
                client.set("heartbeat.interval.ms", ms(self.heartbeat_interval));
            }
            // The broker owns the timeouts; naming them is an error at creation.
            GroupProtocol::Consumer => {
                client.set("group.protocol", "consumer");
                client.set("group.remote.assignor", "range");
            }
        }
        if let Some(instance) = &self.group_instance_id {
            client.set("group.instance.id", instance);
        }
        self.overridden(client, "consumer.")
    }

    /// For a reader outside any group. librdkafka cannot assign without a group's name, but it never joins this one.
    /// An end is noticed only after an empty fetch, so after `wait`.
    pub(super) fn outsider(&self, partitions: usize, wait: Duration) -> ClientConfig {
        let mut client = self.reading(partitions);
        client.set("group.id", format!("{}-reader", self.client_id));
        client.set("enable.partition.eof", "true");
        client.set("fetch.wait.max.ms", ms(wait));
        self.overridden(client, "consumer.")
    }

    /// For look-ups; in `group`'s name where it is given.
    pub(super) fn lookup(&self, group: Option<&str>) -> ClientConfig {
        let mut client = self.common();
        if let Some(group) = group {
            client.set("group.id", group).set("enable.auto.commit", "false");
        }
        client.set("isolation.level", "read_committed");
        self.overridden(client, "consumer.")
    }

    /// For a producer.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut client = self.common();
        client.set("enable.idempotence", "true");
        // Java's placement; librdkafka's own default would break co-partitioning.
        client.set("partitioner", "murmur2_random");
        client.set("linger.ms", ms(self.linger));
        client.set("batch.num.messages", "10000");
        client.set("message.max.bytes", self.max_message_bytes.to_string());
        client.set("compression.type", &self.compression);
        client.set("queue.buffering.max.messages", "100000");
        client.set("queue.buffering.max.kbytes", (self.producer_memory >> 10).clamp(64, 2_097_151).to_string());
        client.set("message.timeout.ms", self.delivery_timeout.map_or("0".to_owned(), ms));
        // Transactions ask again after this while the broker still ends the one before.
        client.set("retry.backoff.ms", "10");
        self.overridden(client, "producer.")
    }

    fn reading(&self, partitions: usize) -> ClientConfig {
        // Split queues are bounded one by one, so the worker's budget is shared out.
        let share = (self.fetch_memory / partitions.max(1)).clamp(64 << 10, 64 << 20);
        let mut client = self.common();
        client.set("enable.auto.commit", "false");
        client.set("enable.auto.offset.store", "false");
        client.set("isolation.level", "read_committed");
        // An offset that is gone is for us to see, outside a group.
        client.set("auto.offset.reset", "error");
        client.set("queued.max.messages.kbytes", (share >> 10).to_string());
        client.set("fetch.message.max.bytes", share.min(1 << 20).to_string());
        client.set("fetch.wait.max.ms", ms(self.fetch_wait));
        // The default of a second makes a consumer whose queue was full once 3 to 4 times slower.
        client.set("fetch.queue.backoff.ms", "10");
        client
    }

    fn common(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.bootstrap);
        client.set("client.id", &self.client_id);
        client.set("socket.timeout.ms", ms(self.request_timeout));
        client.set("socket.keepalive.enable", "true");
        client.set("reconnect.backoff.max.ms", "2000");
        client.set_log_level(RDKafkaLogLevel::Info);
        client
    }

    fn overridden(&self, mut client: ClientConfig, side: &str) -> ClientConfig {
        for (name, value) in &self.settings {
            match name.split_once('.') {
                Some(("consumer" | "producer", rest)) => {
                    if name.starts_with(side) {
                        client.set(rest, value);
                    }
                }
                _ => {
                    client.set(name, value);
                }
            }
        }
        if client.get("debug").is_some() {
            client.set_log_level(RDKafkaLogLevel::Debug);
        }
        client
    }
}

impl std::fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The settings may hold passwords: only their names are shown.
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
    use super::*;

    #[test]
    fn reading_memory_is_shared_out_within_sensible_bounds() {
        let mut config = KafkaConfig::new("localhost:1");
        for (memory, partitions, kbytes) in
            [(64 << 20, 4, "16384"), (64 << 20, 100_000, "64"), (1 << 40, 1, "65536"), (0, 0, "64")]
        {
            config.fetch_memory = memory;
            assert_eq!(config.member("g", partitions).get("queued.max.messages.kbytes"), Some(kbytes));
        }
    }

    #[test]
    fn a_setting_by_name_wins_and_may_hold_for_one_side() {
        let mut config = KafkaConfig::new("localhost:1");
        for (name, value) in
            [("linger.ms", "7"), ("producer.acks", "1"), ("consumer.check.crcs", "true"), ("sasl.username", "me")]
        {
            config.settings.insert(name.to_owned(), value.to_owned());
        }
        let (producer, member) = (config.producer(), config.member("g", 1));
        assert_eq!(
            (producer.get("linger.ms"), producer.get("acks"), producer.get("check.crcs")),
            (Some("7"), Some("1"), None)
        );
        assert_eq!(
            (member.get("check.crcs"), member.get("acks"), member.get("sasl.username")),
            (Some("true"), None, Some("me"))
        );
    }

    #[test]
    fn the_consumer_protocol_leaves_the_timeouts_to_the_broker() {
        let mut config = KafkaConfig::new("localhost:1");
        config.group_protocol = GroupProtocol::Consumer;
        let member = config.member("g", 1);
        assert_eq!((member.get("session.timeout.ms"), member.get("group.remote.assignor")), (None, Some("range")));
    }
}
