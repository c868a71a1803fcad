//! Three brokers of Apache Kafka, started, stopped and killed by `scripts/kafka`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::BoxError;
use crate::topics::{APP, INPUT, PARTITIONS};

/// Number of brokers, and of replicas of each topic, of which two must be in sync.
const BROKERS: usize = 3;
/// Time in which all replicas must be in sync again.
const IN_SYNC_WITHIN: Duration = Duration::from_secs(180);

/// Options of the brokers and tools: a process that starts in a third of the CPU time matters more than its later speed.
const JAVA_OPTIONS: &str = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC";

/// A running cluster. It is stopped when this is dropped.
pub(crate) struct Cluster {
    script: PathBuf,
    home: PathBuf,
    libs: PathBuf,
    bootstrap: String,
}

/// The role of a broker that is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Leads a partition of the input.
    Leader,
    Controller,
    /// Coordinates the consumer group.
    Coordinator,
}

impl Role {
    pub(crate) const ALL: [Self; 3] = [Self::Leader, Self::Controller, Self::Coordinator];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Controller => "controller",
            Self::Coordinator => "coordinator",
        }
    }
}

/// The second listener of a broker.
pub(crate) struct Listener {
    /// The port that the broker advertises, on which the proxy must listen.
    pub(crate) advertised: u16,
    /// The address on which the broker listens.
    pub(crate) behind: SocketAddr,
}

impl Cluster {
    /// Starts brokers without data, and creates the input.
    ///
    /// # Errors
    /// Fails if a command fails.
    pub(crate) fn start(root: &Path, dir: &Path) -> Result<Self, BoxError> {
        let libs = std::env::var_os("FAUST_KAFKA_LIBS").map_or_else(|| root.join(".kafka/libs"), PathBuf::from);
        let (script, home) = (root.join("scripts/kafka"), dir.join("kafka"));
        let mut cluster = Self { script, home, libs, bootstrap: String::new() };
        let brokers = BROKERS.to_string();
        cluster.bootstrap = cluster.run(&["up", "--brokers", &brokers, "--fresh", "--proxied"])?;
        let partitions = PARTITIONS.to_string();
        cluster.run(&["tool", "topics", "--create", "--topic", INPUT, "--partitions", &partitions])?;
        Ok(cluster)
    }

    /// Returns the bootstrap address of the first listeners.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Returns the number of replicas of each topic.
    pub(crate) fn replicas() -> usize {
        BROKERS
    }

    /// Returns the second listener of each broker.
    pub(crate) fn listeners(&self) -> Result<Vec<Listener>, BoxError> {
        let mut listeners = Vec::new();
        for line in self.run(&["proxies"])?.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, advertised, behind] = fields[..] else { return Err(format!("`{line}` is no listener").into()) };
            listeners
                .push(Listener { advertised: advertised.parse()?, behind: ([127, 0, 0, 1], behind.parse()?).into() });
        }
        Ok(listeners)
    }

    /// Returns the broker that has this role. `partition` is that of the input whose leader is looked up.
    pub(crate) fn who(&self, role: Role, partition: i32) -> Result<u32, BoxError> {
        let partition = partition.to_string();
        let arguments: &[&str] = match role {
            Role::Leader => &["who", "leader", INPUT, &partition],
            Role::Controller => &["who", "controller"],
            Role::Coordinator => &["who", "coordinator", APP],
        };
        Ok(self.run(arguments)?.parse()?)
    }

    /// Ends a broker, with SIGTERM or SIGKILL, and waits until its process is gone.
    pub(crate) fn end_node(&self, id: u32, hard: bool) -> Result<(), BoxError> {
        self.run(&[if hard { "kill-node" } else { "stop-node" }, &id.to_string()]).map(drop)
    }

    /// Starts a broker again, and waits until all replicas are in sync.
    pub(crate) fn start_node(&self, id: u32) -> Result<(), BoxError> {
        self.run(&["start-node", &id.to_string()])?;
        self.await_in_sync()
    }

    fn await_in_sync(&self) -> Result<(), BoxError> {
        let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create()?;
        let began = Instant::now();
        loop {
            let is_in_sync = client.fetch_metadata(None, Duration::from_secs(10)).is_ok_and(|metadata| {
                let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
                metadata.brokers().len() == BROKERS
                    && partitions.all(|partition| partition.isr().len() == partition.replicas().len())
            });
            if is_in_sync {
                return Ok(());
            }
            if began.elapsed() > IN_SYNC_WITHIN {
                return Err(format!("replicas are not in sync {IN_SYNC_WITHIN:?} after a broker was started").into());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Runs a command of `scripts/kafka`, and returns its output.
    fn run(&self, arguments: &[&str]) -> Result<String, BoxError> {
        let mut command = Command::new(&self.script);
        command.args(arguments).env("FAUST_KAFKA_HOME", &self.home).env("FAUST_KAFKA_LIBS", &self.libs);
        command.env("JAVA_TOOL_OPTIONS", JAVA_OPTIONS);
        let output = command.stdin(Stdio::null()).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if !output.status.success() {
            let shown = arguments.join(" ");
            return Err(
                format!("`scripts/kafka {shown}` failed: {}{}", text(&output.stderr), text(&output.stdout)).into()
            );
        }
        Ok(text(&output.stdout))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Nothing reads the data any more, so there is nothing to shut down in order. A node may be down already.
        for id in 1..=BROKERS {
            drop(self.run(&["kill-node", &id.to_string()]));
        }
        drop(self.run(&["down"]));
    }
}
