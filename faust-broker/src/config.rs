//! Settings of a broker.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

/// The settings of a [`Broker`](crate::Broker). Start from `BrokerConfig::default()` or [`BrokerConfig::new`].
///
/// Everything that Kafka configures in `server.properties` has Kafka's name; see [`with_config`](Self::with_config).
///
/// ```
/// use faust_broker::{Broker, BrokerConfig, Port, Storage};
///
/// let config = BrokerConfig::new(Storage::Memory, Port::Any)
///     .with_auto_create_topics(false)
///     .with_config("log.retention.hours", "1");
/// let broker = Broker::start_with(config)?;
/// broker.stop()?;
/// # Ok::<(), faust_broker::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerConfig {
    /// Storage of topics, records and groups.
    pub storage: Storage,
    /// The address to listen on. Only loopback addresses are accepted, unless `expose` is set.
    pub host: IpAddr,
    /// The port to listen on.
    pub port: Port,
    /// Allows addresses that other machines can reach. The broker has neither authentication nor encryption: everyone who
    /// reaches it can read and delete everything.
    pub expose: bool,
    /// Host and port that clients are told to connect to, like Kafka's `advertised.listeners`, if they differ from those
    /// that the broker listens on; for example in a container whose ports are mapped. Without it, a broker that listens
    /// on all addresses advertises the one at which the client has reached it.
    pub advertised: Option<(String, u16)>,
    /// Configs of the broker, by Kafka's names.
    pub configs: BTreeMap<String, String>,
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
            expose: false,
            advertised: None,
            configs: BTreeMap::new(),
        }
    }
}

impl BrokerConfig {
    /// Returns the default settings with this storage and port.
    #[must_use]
    pub fn new(storage: Storage, port: Port) -> Self {
        Self { storage, port, ..Self::default() }
    }

    /// Sets a config of the broker by Kafka's name. An unknown name, that of a config without effect here, or an invalid
    /// value is an error of [`Broker::start_with`](crate::Broker::start_with).
    ///
    /// Among the names are `num.partitions` (default 8), `auto.create.topics.enable` (true),
    /// `group.min.session.timeout.ms` (6000), `group.initial.rebalance.delay.ms` (0), `offsets.retention.minutes`
    /// (10080), and the defaults of topic configs, such as `log.retention.hours` (168) and `message.max.bytes`.
    /// `DescribeConfigs` of the broker lists them all.
    #[must_use]
    pub fn with_config(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.configs.insert(name.into(), value.to_string());
        self
    }

    /// Sets the number of partitions of topics that are created on first use: `num.partitions`.
    #[must_use]
    pub fn with_default_partitions(self, partitions: i32) -> Self {
        self.with_config("num.partitions", partitions)
    }

    /// Enables or disables the creation of topics on first use: `auto.create.topics.enable`.
    #[must_use]
    pub fn with_auto_create_topics(self, auto_create: bool) -> Self {
        self.with_config("auto.create.topics.enable", auto_create)
    }

    /// Sets the maximum size of a request in bytes: `socket.request.max.bytes`. A longer request closes the connection.
    #[must_use]
    pub fn with_max_request_bytes(self, bytes: usize) -> Self {
        self.with_config("socket.request.max.bytes", bytes)
    }

    /// Sets the time for which a new group waits for more members before its first assignment:
    /// `group.initial.rebalance.delay.ms`.
    #[must_use]
    pub fn with_initial_rebalance_delay(self, delay: Duration) -> Self {
        self.with_config("group.initial.rebalance.delay.ms", delay.as_millis())
    }

    /// Sets the interval at which compacted topics are checked for compaction: `log.cleaner.backoff.ms`.
    #[must_use]
    pub fn with_compaction_interval(self, interval: Duration) -> Self {
        self.with_config("log.cleaner.backoff.ms", interval.as_millis())
    }

    /// Sets the shortest session timeout that members of a group may have: `group.min.session.timeout.ms`. Tests that
    /// wait for a session to expire lower it from Kafka's 6 s.
    #[must_use]
    pub fn with_min_session_timeout(self, timeout: Duration) -> Self {
        self.with_config("group.min.session.timeout.ms", timeout.as_millis())
    }

    /// Sets the address to listen on.
    #[must_use]
    pub fn with_host(mut self, host: IpAddr) -> Self {
        self.host = host;
        self
    }

    /// Sets the port to listen on.
    #[must_use]
    pub fn with_port(mut self, port: Port) -> Self {
        self.port = port;
        self
    }

    /// Allows addresses that other machines can reach; see [`expose`](Self::expose).
    #[must_use]
    pub fn with_exposure(mut self) -> Self {
        self.expose = true;
        self
    }

    /// Sets the host and port that clients are told to connect to; see [`advertised`](Self::advertised).
    #[must_use]
    pub fn with_advertised(mut self, host: impl Into<String>, port: u16) -> Self {
        self.advertised = Some((host.into(), port));
        self
    }
}
