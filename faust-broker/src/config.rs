//! How a broker is to be started.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

/// The settings of a [`Server`](crate::Server). Start from `BrokerConfig::default()` or [`BrokerConfig::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerConfig {
    /// Where everything is kept.
    pub storage: Storage,
    /// The address to listen on; only loopback addresses are accepted.
    pub host: IpAddr,
    /// The port to listen on.
    pub port: Port,
    /// How many partitions a topic gets that is created because somebody uses it.
    pub default_partitions: i32,
    /// Whether a topic is created when somebody uses it.
    pub auto_create_topics: bool,
    /// Requests that are longer end the connection. In bytes.
    pub max_request_bytes: usize,
    /// How long a new group waits for more members before its first assignment.
    pub initial_rebalance_delay: Duration,
    /// How often compacted topics are looked through for what a later record supersedes; as Kafka's
    /// `log.cleaner.backoff.ms`.
    pub compaction_interval: Duration,
}

/// Where a broker keeps topics, records and groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// In memory: gone with the broker, and never larger than what retention leaves.
    Memory,
    /// In files under this directory.
    ///
    /// A write that was acknowledged survives the end of the process, however sudden. It does not survive the loss
    /// of power or a crash of the system: nothing is forced to the disk before it is acknowledged (as in Kafka).
    Directory(PathBuf),
}

/// Which port a broker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// This one, or starting fails.
    Exact(u16),
    /// This one if it is free, else any.
    Prefer(u16),
    /// Any free one.
    Any,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            storage: Storage::Memory,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: Port::Any,
            default_partitions: 8,
            auto_create_topics: true,
            max_request_bytes: 100 * 1024 * 1024,
            initial_rebalance_delay: Duration::ZERO,
            compaction_interval: Duration::from_secs(15),
        }
    }
}

impl BrokerConfig {
    /// The default settings with this storage and port.
    #[must_use]
    pub fn new(storage: Storage, port: Port) -> Self {
        Self { storage, port, ..Self::default() }
    }

    /// The same with another number of partitions for topics that are created on first use.
    #[must_use]
    pub fn with_default_partitions(mut self, partitions: i32) -> Self {
        self.default_partitions = partitions;
        self
    }

    /// The same, with or without the creation of topics on first use.
    #[must_use]
    pub fn with_auto_create_topics(mut self, auto_create: bool) -> Self {
        self.auto_create_topics = auto_create;
        self
    }

    /// The same with another limit for one request, in bytes.
    #[must_use]
    pub fn with_max_request_bytes(mut self, bytes: usize) -> Self {
        self.max_request_bytes = bytes;
        self
    }

    /// The same with another address to listen on.
    #[must_use]
    pub fn with_host(mut self, host: IpAddr) -> Self {
        self.host = host;
        self
    }

    /// The same with another wait before a new group's first assignment.
    #[must_use]
    pub fn with_initial_rebalance_delay(mut self, delay: Duration) -> Self {
        self.initial_rebalance_delay = delay;
        self
    }

    /// The same with another time between two looks at compacted topics.
    #[must_use]
    pub fn with_compaction_interval(mut self, interval: Duration) -> Self {
        self.compaction_interval = interval;
        self
    }
}
