//! Settings of a broker.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

/// The settings of a [`Broker`](crate::Broker). Start from `BrokerConfig::default()` or [`BrokerConfig::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerConfig {
    /// Storage of topics, records and groups.
    pub storage: Storage,
    /// The address to listen on; only loopback addresses are accepted.
    pub host: IpAddr,
    /// The port to listen on.
    pub port: Port,
    /// Number of partitions of topics that are created on first use.
    pub default_partitions: i32,
    /// Enables the creation of topics on first use.
    pub auto_create_topics: bool,
    /// Maximum size of a request in bytes; a longer request closes the connection.
    pub max_request_bytes: usize,
    /// Time for which a new group waits for more members before its first assignment.
    pub initial_rebalance_delay: Duration,
    /// Interval at which compacted topics are checked for compaction, like Kafka's `log.cleaner.backoff.ms`.
    pub compaction_interval: Duration,
}

/// The storage of a broker's topics, records and groups.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Storage {
    /// In memory. All data is lost when the broker stops, and its size is bounded by the topics' retention.
    Memory,
    /// In files under this directory.
    ///
    /// An acknowledged write survives the end of the process, even if it is killed. The last ones may not survive a power
    /// failure or a system crash: as in Kafka, they are acknowledged without waiting for `fsync`. Segments are synced when
    /// the next one begins, topics and their configurations at once, and everything when the broker is stopped.
    Directory(PathBuf),
}

/// The port a broker listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Port {
    /// This port; starting fails if it is not available.
    Exact(u16),
    /// This port if it is free, otherwise any free port.
    Prefer(u16),
    /// Any free port.
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
    /// Returns the default settings with this storage and port.
    #[must_use]
    pub fn new(storage: Storage, port: Port) -> Self {
        Self { storage, port, ..Self::default() }
    }

    /// Sets the number of partitions of topics that are created on first use.
    #[must_use]
    pub fn with_default_partitions(mut self, partitions: i32) -> Self {
        self.default_partitions = partitions;
        self
    }

    /// Enables or disables the creation of topics on first use.
    #[must_use]
    pub fn with_auto_create_topics(mut self, auto_create: bool) -> Self {
        self.auto_create_topics = auto_create;
        self
    }

    /// Sets the maximum size of a request in bytes.
    #[must_use]
    pub fn with_max_request_bytes(mut self, bytes: usize) -> Self {
        self.max_request_bytes = bytes;
        self
    }

    /// Sets the address to listen on.
    #[must_use]
    pub fn with_host(mut self, host: IpAddr) -> Self {
        self.host = host;
        self
    }

    /// Sets the time for which a new group waits for more members before its first assignment.
    #[must_use]
    pub fn with_initial_rebalance_delay(mut self, delay: Duration) -> Self {
        self.initial_rebalance_delay = delay;
        self
    }

    /// Sets the interval at which compacted topics are checked for compaction.
    #[must_use]
    pub fn with_compaction_interval(mut self, interval: Duration) -> Self {
        self.compaction_interval = interval;
        self
    }
}
