//! The settings of an app, with their defaults, bounds and help texts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::table;
use super::value::{
    self, BrokerUrl, ByteSize, Compression, DecodePolicy, GroupProtocol, OffsetReset, Secret, SecurityProtocol,
    StoreKind,
};

table::settings! {
    /// Raise it to start over: it becomes part of the consumer group and of the names of internal topics (`orders-v2`).
    version: u32 = "1", within "1" "1000000", example "2";
    /// Where the embedded broker and the stores live; `{id}` stands for the app's id.
    datadir: PathBuf = "{id}-data", example "/var/lib/{id}";

    /// The Kafka to connect to. Unset, the worker brings its own small broker under `datadir`.
    broker: Option<BrokerUrl> = "", example "kafka://kafka-1:9092,kafka-2:9092";
    /// The port the embedded broker would like; if it is taken, the next free one. 0 means any.
    embedded_port: u16 = "9092", example "19092";
    /// How this program names itself to the brokers.
    broker_client_id: String = "faust", example "orders-service";
    /// How often finished work is committed; sooner when very many keys of a table have changed.
    broker_commit_interval: Duration = "2.8s", within "10ms" "1h", example "500ms";
    /// How long a commit waits for agents to come out of the event they are in, before it is left to the next interval.
    commit_cut_timeout: Duration = "10s", within "10ms" "1h", example "30s";
    /// Silence after which the brokers give a worker's partitions to another.
    broker_session_timeout: Duration = "45s", within "1s" "30m", example "6s";
    /// How often a worker shows the brokers that it lives.
    broker_heartbeat_interval: Duration = "3s", within "100ms" "10m", example "2s";
    /// How long a worker may take for a rebalance before the brokers count it out.
    broker_max_poll_interval: Duration = "5m", within "1s" "1d", example "10m";
    /// How long a worker may take to finish and commit partitions that are taken from it.
    broker_rebalance_timeout: Duration = "30s", within "100ms" "1h", example "60s";
    /// How long to wait for a broker's answer before the request is tried again.
    broker_request_timeout: Duration = "90s", within "1s" "5m", example "60s";
    /// The protocol of consumer groups: `consumer` (KIP-848) needs Kafka 4.
    group_protocol: GroupProtocol = "classic", example "consumer";
    /// Whether the connection is encrypted and authenticated.
    broker_security_protocol: SecurityProtocol = "plaintext", example "sasl_ssl";
    /// How to authenticate, when `broker_security_protocol` is `sasl_ssl` or `sasl_plaintext`.
    broker_sasl_mechanism: String = "PLAIN", example "SCRAM-SHA-256";
    /// The user to authenticate as.
    broker_username: Option<String> = "", example "orders";
    /// The user's password; never shown.
    broker_password: Option<Secret> = "", example "(from the environment)";
    /// The certificates to trust (PEM); unset, the system's.
    broker_ssl_ca: Option<PathBuf> = "", example "/etc/ssl/kafka-ca.pem";
    /// This program's own certificate (PEM), for brokers that ask for one.
    broker_ssl_certificate: Option<PathBuf> = "", example "/etc/ssl/orders.pem";
    /// The private key of `broker_ssl_certificate` (PEM).
    broker_ssl_key: Option<PathBuf> = "", example "/etc/ssl/orders.key";

    /// Where to read without a committed offset, or when it is deleted: `earliest`, `latest`, or `none` to stop with an error.
    consumer_auto_offset_reset: OffsetReset = "earliest", example "latest";
    /// A name that stays the same over restarts, so that a quick restart moves no partitions.
    consumer_group_instance_id: Option<String> = "", example "orders-1";
    /// Memory for messages fetched ahead, all partitions of a worker together.
    fetch_memory: ByteSize = "32MiB", within "1MiB" "64GiB", example "256MiB";

    /// How messages are packed: `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    producer_compression_type: Compression = "none", example "zstd";
    /// How long a message may wait for company in its batch.
    producer_linger: Duration = "5ms", within "0s" "10s", example "50ms";
    /// The largest message that can be sent. The topic has a limit of its own, 1 MiB unless it was raised.
    producer_max_request_size: ByteSize = "16MiB", within "1KiB" "100MiB", example "32MiB";

    /// What keeps tables on disk: `sled://`, `fjall://` for those larger than memory, or `memory://` for none.
    store: StoreKind = "sled://", example "fjall://";
    /// Memory for committed changes of tables that wait to be written to the store; when it is full, processing waits.
    state_memory: ByteSize = "128MiB", within "1MiB" "64GiB", example "64MiB";
    /// How long changelogs keep what was written over. After a crash, a worker has to come back within this time.
    changelog_compaction_lag: Duration = "1h", within "0s" "30d", example "6h";
    /// Memory in which a worker keeps entries of its tables, so that most reads need not go to the store.
    table_cache_memory: ByteSize = "256MiB", within "1MiB" "1TiB", example "2GiB";

    /// Events one agent may be ahead of a slower one on the same partition.
    stream_buffer_maxsize: usize = "4096", within "1" "10000000", example "10000";
    /// An agent that stays in one event longer is reported as stuck.
    stream_processing_timeout: Duration = "5m", within "100ms" "7d", example "30s";
    /// How long an agent may take, at start, to come to its stream.
    plan_timeout: Duration = "5s", within "10ms" "1h", example "30s";
    /// How long a worker that was asked to stop may finish what it has begun.
    shutdown_timeout: Duration = "30s", within "0s" "1h", example "2m";

    /// What becomes of a message that cannot be decoded: `dead_letter`, `skip` or `stop`.
    on_decode_error: DecodePolicy = "dead_letter", example "stop";
    /// How often a failing agent is tried before the worker stops.
    agent_max_attempts: u32 = "5", within "1" "1000000", example "10";
    /// The pause before a failed agent is first tried again; it doubles each time.
    agent_backoff_min: Duration = "100ms", within "1ms" "1h", example "1s";
    /// The longest pause before a failed agent is tried again.
    agent_backoff_max: Duration = "10s", within "1ms" "1d", example "1m";

    /// Partitions of topics this app creates.
    topic_partitions: i32 = "8", within "1" "100000", example "12";
    /// Copies of each partition of topics this app creates.
    topic_replication_factor: i16 = "1", within "1" "32767", example "3";
    /// How often the topics behind `group_by` are trimmed of what is committed.
    repartition_purge_interval: Duration = "30s", within "100ms" "1d", example "5m";
    /// Whether missing topics are created.
    topic_allow_declare: bool = "true", example "false";
}

/// One setting: what `faust settings` shows, and how texts become its value.
#[derive(Debug)]
#[non_exhaustive]
pub struct SettingDef {
    /// The name in code, files and on the command line.
    pub name: &'static str,
    /// The default, as one would write it; empty means unset.
    pub default: &'static str,
    /// One or two sentences.
    pub doc: &'static str,
    /// A value somebody might want.
    pub example: &'static str,
    /// What may be written, such as ``a duration like `10s` ``.
    pub form: &'static str,
    /// The smallest and largest value allowed.
    pub within: Option<(&'static str, &'static str)>,
    pub(super) set: fn(&mut Settings, &str) -> Result<(), String>,
    pub(super) show: fn(&Settings) -> String,
}

impl SettingDef {
    /// The name of the environment variable: `FAUST_BROKER` for `broker`.
    pub fn env(&self) -> String {
        format!("FAUST_{}", self.name.to_ascii_uppercase())
    }

    /// The value as one would write it, secrets masked; empty means unset.
    pub fn show(&self, settings: &Settings) -> String {
        (self.show)(settings)
    }
}

impl Settings {
    /// The consumer group and the prefix of internal topics: the id, from version 2 on with `-v2` and so on.
    pub fn group(&self) -> String {
        match self.version {
            1 => self.id.clone(),
            version => format!("{}-v{version}", self.id),
        }
    }

    /// Where the embedded broker of this app keeps its data and its address.
    pub fn broker_dir(&self) -> PathBuf {
        match &self.broker {
            Some(BrokerUrl::Embedded(dir)) => dir.clone(),
            _ => self.datadir.join("broker"),
        }
    }
}

#[cfg(test)]
mod tests;
