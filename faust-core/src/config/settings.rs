//! The settings of an app, with their defaults, bounds and help texts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::store_kind::{StoreKind, default_store};
use super::table;
use super::value::{
    self, BrokerUrl, ByteSize, Compression, DecodePolicy, FailurePolicy, GroupProtocol, OffsetReset,
    ProcessingGuarantee, Secret, SecurityProtocol, TimestampPolicy,
};

table::settings! {
    /// Version of the app. Raise it to start over: it becomes part of the group and internal topic names (`orders-v2`).
    version: u32 = "1", within "1" "1000000", example "2";
    /// Directory of the embedded broker and the stores; `{id}` is replaced by the app's id.
    datadir: PathBuf = "{id}-data", example "/var/lib/{id}";

    /// The Kafka brokers to connect to. If unset, the worker runs an embedded broker (feature `embedded`) in `datadir`.
    broker: Option<BrokerUrl> = "", example "kafka://kafka-1:9092,kafka-2:9092";
    /// Preferred port of the embedded broker; if it is in use, the next free port is taken. 0 means any port.
    embedded_port: u16 = "9092", example "19092";
    /// Client id sent to the brokers. With the default, that of a group's member begins with the worker's name.
    broker_client_id: String = "faust", example "orders-service";
    /// `exactly_once`: outputs, tables and positions are committed in one transaction; or `at_least_once`.
    processing_guarantee: ProcessingGuarantee = "exactly_once", example "at_least_once";
    /// Maximum interval between commits; if unset, 20ms to 2.8s, by load; 2.8s under at-least-once. Many changes make a commit earlier.
    broker_commit_interval: Option<Duration> = "", within "10ms" "1h", example "500ms";
    /// Name of the worker, unique in the app. If unset, one is chosen at random and kept in the worker's directory.
    worker_name: Option<String> = "", example "orders-0";
    /// Time without heartbeats after which the brokers reassign a worker's partitions.
    broker_session_timeout: Duration = "45s", within "1s" "30m", example "6s";
    /// Interval between a worker's heartbeats to the brokers.
    broker_heartbeat_interval: Duration = "3s", within "100ms" "10m", example "2s";
    /// Maximum time a worker may take for a rebalance before the brokers remove it from the group.
    broker_max_poll_interval: Duration = "5m", within "1s" "1d", example "10m";
    /// Maximum time a worker may take to finish and commit partitions that are revoked.
    broker_rebalance_timeout: Duration = "30s", within "100ms" "1h", example "60s";
    /// Time to wait for a broker's response before the request is retried.
    broker_request_timeout: Duration = "90s", within "1s" "5m", example "60s";
    /// The consumer group protocol: `classic`, or `consumer` (KIP-848, Kafka 4), where the brokers decide the times of sessions.
    group_protocol: GroupProtocol = "classic", example "consumer";
    /// Encryption and authentication of the connections to the brokers.
    broker_security_protocol: SecurityProtocol = "plaintext", example "sasl_ssl";
    /// SASL mechanism, if `broker_security_protocol` is `sasl_ssl` or `sasl_plaintext`.
    broker_sasl_mechanism: String = "PLAIN", example "SCRAM-SHA-256";
    /// User name for authentication.
    broker_username: Option<String> = "", example "orders";
    /// Password for authentication; never shown.
    broker_password: Option<Secret> = "", example "(from the environment)";
    /// File of trusted certificates (PEM). If unset, those of the system are trusted.
    broker_ssl_ca: Option<PathBuf> = "", example "/etc/ssl/kafka-ca.pem";
    /// File of the client certificate (PEM), for brokers that require one.
    broker_ssl_certificate: Option<PathBuf> = "", example "/etc/ssl/orders.pem";
    /// File of the private key of `broker_ssl_certificate` (PEM).
    broker_ssl_key: Option<PathBuf> = "", example "/etc/ssl/orders.key";

    /// Start in a source topic without a valid committed offset: `earliest`, `latest` or `none` (an error).
    consumer_auto_offset_reset: OffsetReset = "earliest", example "latest";
    /// Static group member id, unique in the app. A worker that returns with it within its session causes no rebalance.
    consumer_group_instance_id: Option<String> = "", example "orders-1";
    /// Memory for prefetched messages, shared by all partitions of a worker; each takes at least 64 KiB.
    fetch_memory: ByteSize = "32MiB", within "1MiB" "64GiB", example "256MiB";

    /// Compression of produced batches: `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    producer_compression_type: Compression = "none", example "zstd";
    /// Maximum time a message is delayed so that it can be sent in a batch. Less than the brokers take to answer costs CPU.
    producer_linger: Duration = "5ms", within "0s" "10s", example "50ms";
    /// Maximum size of a message. Topics that the app creates take it; for others, Kafka's default is 1 MiB.
    producer_max_request_size: ByteSize = "16MiB", within "1KiB" "100MiB", example "32MiB";

    /// Memory for the messages that one event sends under exactly-once. They are kept until the event is finished.
    event_output_max: ByteSize = "32MiB", within "1KiB" "4GiB", example "64MiB";

    /// Store of tables: `sled://`, `fjall://` for tables larger than memory, or `memory://` for no store on disk.
    store: StoreKind = default_store!(), example "fjall://";
    /// Memory for committed table changes that are not yet written to the store. When it is full, processing pauses.
    state_memory: ByteSize = "128MiB", within "1MiB" "64GiB", example "64MiB";
    /// Time changelogs keep overwritten values. After a crash, a worker must be restarted within this time.
    changelog_compaction_lag: Duration = "1d", within "0s" "30d", example "3d";
    /// Memory for a worker's cache of table entries, so that most reads do not access the store.
    table_cache_memory: ByteSize = "256MiB", within "1MiB" "1TiB", example "2GiB";

    /// Copies of each table's partition that other workers keep: 1 for the next owner if a worker leaves, 2 for any move, or 0.
    table_standby_replicas: u32 = "1", within "0" "2", example "2";

    /// Maximum number of events kept for an agent that is slower than others on its partition; it reads later ones again.
    stream_buffer_maxsize: usize = "4096", within "1" "10000000", example "10000";
    /// Time after which an agent that is still processing the same event is reported as stuck.
    stream_processing_timeout: Duration = "5m", within "100ms" "7d", example "30s";
    /// Maximum time that stream time may be ahead of the clock. Later events are processed, but do not move it.
    stream_time_max_ahead: Duration = "1h", within "0s" "36500d", example "30d";
    /// Maximum time from the start of an agent to the first read of its stream.
    plan_timeout: Duration = "5s", within "10ms" "1h", example "30s";
    /// Maximum time a worker may take to finish its current events and commit when it shuts down.
    shutdown_timeout: Duration = "30s", within "0s" "1h", example "2m";

    /// Handling of messages that cannot be decoded: `dead_letter`, `skip` or `stop`.
    on_decode_error: DecodePolicy = "dead_letter", example "stop";
    /// Handling of messages whose topic does not accept their timestamp: `fail` the send, or `replace` by the clock's time.
    on_timestamp_error: TimestampPolicy = "fail", example "replace";
    /// Handling of an event whose agent fails each time: `retry` for ever; or `stop`, `dead_letter` or `skip` in the end.
    agent_failure: FailurePolicy = "retry", example "dead_letter";
    /// Number of failed attempts after which `stop`, `dead_letter` or `skip` applies.
    agent_max_attempts: u32 = "5", within "1" "1000000", example "10";
    /// Time since the first failure after which it applies, even after fewer attempts.
    agent_max_time: Duration = "1h", within "0s" "36500d", example "10m";
    /// Delay before the first retry of a failed agent; it doubles with each retry.
    agent_backoff_min: Duration = "100ms", within "1ms" "1h", example "1s";
    /// Maximum delay before a failed agent is retried.
    agent_backoff_max: Duration = "30s", within "1ms" "1d", example "1m";

    /// Number of partitions of the topics that this app creates.
    topic_partitions: i32 = "8", within "1" "100000", example "12";
    /// Replication factor of the topics that this app creates.
    topic_replication_factor: i16 = "1", within "1" "32767", example "3";
    /// Interval at which committed records are deleted from the repartition topics of `group_by`.
    repartition_purge_interval: Duration = "30s", within "100ms" "1d", example "5m";
    /// If true, missing topics are created.
    topic_allow_declare: bool = "true", example "false";
}

/// Memory for prefetched messages that a partition takes at least, whatever `fetch_memory` is.
pub(crate) const MIN_FETCH_SHARE: usize = 64 << 10;

/// The definition of a setting: its description in the command `settings`, and the conversion from text to its value.
#[derive(Debug)]
#[non_exhaustive]
pub struct SettingDef {
    /// Name in code, in files and on the command line.
    pub name: &'static str,
    /// Default value in its written form; empty if unset.
    pub default: &'static str,
    /// Description of one or two sentences.
    pub doc: &'static str,
    /// Example of a useful value.
    pub example: &'static str,
    /// Description of the written form, such as ``a duration like `10s` ``.
    pub form: &'static str,
    /// Minimum and maximum value.
    pub within: Option<(&'static str, &'static str)>,
    pub(super) set: fn(&mut Settings, &str) -> Result<(), String>,
    pub(super) show: fn(&Settings) -> String,
}

impl SettingDef {
    /// Returns the name of the environment variable: `FAUST_BROKER` for `broker`.
    pub fn env(&self) -> String {
        format!("FAUST_{}", self.name.to_ascii_uppercase())
    }

    /// Returns the value in its written form, with secrets masked; empty if unset.
    pub fn show(&self, settings: &Settings) -> String {
        (self.show)(settings)
    }
}

impl Settings {
    /// Returns the consumer group, which is also the prefix of internal topics: the id, with `-v2` and so on appended
    /// from version 2.
    pub fn group(&self) -> String {
        match self.version {
            1 => self.id.clone(),
            version => format!("{}-v{version}", self.id),
        }
    }

    /// Returns the regular interval between commits. Unless the user has set it, a commit may come earlier or later.
    pub fn commit_interval(&self) -> Duration {
        self.broker_commit_interval.unwrap_or(match self.processing_guarantee {
            ProcessingGuarantee::AtLeastOnce => Duration::from_millis(2800),
            ProcessingGuarantee::ExactlyOnce => Duration::from_millis(100),
        })
    }

    /// Returns the directory in which the embedded broker of this app keeps its data and its address.
    pub fn broker_dir(&self) -> PathBuf {
        match &self.broker {
            Some(BrokerUrl::Embedded(dir)) => dir.clone(),
            _ => self.datadir.join("broker"),
        }
    }
}

#[cfg(test)]
mod tests;
