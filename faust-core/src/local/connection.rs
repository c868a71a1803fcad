//! The way to the broker of an app: the Kafka that is set, or the embedded broker, found or started.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use faust_broker::{BrokerConfig, Port, Server, Storage};

use super::address::{Address, HostKind};
use super::worker_dir::WorkerDir;
use crate::config::{BrokerUrl, Settings};
use crate::error::{Error, TransportError};
use crate::store::lock::FileLock;

/// Maximum time to wait for a broker that another process is starting.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// Poll interval for files that other processes change.
const LOOK: Duration = Duration::from_millis(100);

/// A connection to a broker, including the broker itself if this process hosts it.
#[derive(Debug)]
pub struct Connection {
    pub(super) bootstrap: String,
    pub(super) role: BrokerRole,
    pub(super) notices: Vec<String>,
}

#[derive(Debug)]
pub(super) enum BrokerRole {
    /// The broker is configured: an external Kafka cluster.
    Client,
    /// This process runs the embedded broker.
    Host(Host),
    /// Another process on this machine runs the embedded broker.
    Guest { dir: PathBuf, address: Address },
}

impl Connection {
    /// Finds the broker of this app, or starts the embedded broker if none is running. Used by the commands `worker`
    /// and `broker`.
    ///
    /// # Errors
    /// Fails if the embedded broker cannot start, or if another process holds its directory but does not respond.
    pub async fn host(settings: &Settings, kind: HostKind) -> Result<Self, Error> {
        let settings = settings.clone();
        // File access, locking and starting a server all block.
        tokio::task::spawn_blocking(move || host(&settings, kind)).await.map_err(interrupted)?
    }

    /// Finds the broker of this app without starting one. Used by the other commands.
    ///
    /// # Errors
    /// Fails if no broker is configured and none is running.
    pub async fn find(settings: &Settings) -> Result<Self, Error> {
        let settings = settings.clone();
        tokio::task::spawn_blocking(move || find(&settings)).await.map_err(interrupted)?
    }

    /// Returns the bootstrap servers: `host:port`, separated by commas.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Returns `true` if the embedded broker runs in this process.
    pub fn is_host(&self) -> bool {
        matches!(self.role, BrokerRole::Host(_))
    }

    /// Returns the notices to print at start-up, one line each.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Describes the broker for the start-up table: its address and its host.
    pub fn describe(&self) -> String {
        let bootstrap = &self.bootstrap;
        match &self.role {
            BrokerRole::Client => format!("kafka://{bootstrap}"),
            BrokerRole::Host(host) if host.in_memory => format!("kafka://{bootstrap} (embedded, in memory)"),
            BrokerRole::Host(host) => format!("kafka://{bootstrap} (embedded, data in {})", host.dir.display()),
            BrokerRole::Guest { address, .. } => {
                format!("kafka://{bootstrap} (embedded in {} {})", address.kind, address.pid)
            }
        }
    }

    /// Waits until the worker that hosts the broker shuts down or the broker has moved, and returns the reason. Never
    /// resolves if no other process hosts the broker.
    pub async fn gone(&self) -> String {
        let BrokerRole::Guest { dir, address } = &self.role else { return std::future::pending().await };
        loop {
            if let Some(reason) = address.departure(dir) {
                return reason;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Announces to the guests that the broker hosted here is about to stop, so that they can finish while it is still
    /// running.
    pub fn announce_end(&self) {
        if let BrokerRole::Host(host) = &self.role {
            host.announce_end();
        }
    }

    /// Stops a broker hosted here: notifies the other workers, waits up to `within` for them to exit, and stops the
    /// broker. Does nothing if the broker is not hosted here. `own` is the directory of this worker, which is not
    /// waited for.
    ///
    /// # Errors
    /// Fails if the broker cannot write its remaining data.
    pub async fn close(self, own: Option<&WorkerDir>, within: Duration) -> Result<(), Error> {
        let BrokerRole::Host(mut host) = self.role else { return Ok(()) };
        host.announce_end();
        let deadline = Instant::now() + within;
        while host.kind == HostKind::Worker
            && super::worker_dir::others(&host.datadir, own) > 0
            && Instant::now() < deadline
        {
            tokio::time::sleep(LOOK).await;
        }
        tokio::task::spawn_blocking(move || host.stop()).await.map_err(interrupted)?
    }
}

/// The running broker, with the address and lock files that make it known to other processes.
#[derive(Debug)]
pub(super) struct Host {
    kind: HostKind,
    dir: PathBuf,
    /// Parent of the numbered worker directories.
    datadir: PathBuf,
    address: Address,
    in_memory: bool,
    /// The server; `None` once it is stopped.
    server: Option<Server>,
    /// Lock held while the broker runs. The operating system releases it even after `kill -9`.
    _lock: FileLock,
}

impl Host {
    /// Marks the address as ending if the host is a worker: its guests shut down with it. Guests of the command
    /// `broker` wait for it instead, as for any unavailable broker.
    fn announce_end(&self) {
        if self.kind == HostKind::Broker {
            return;
        }
        if let Err(error) = self.address.clone().ending().write(&self.dir) {
            tracing::warn!(target: "faust::broker", "cannot notify the other workers of the shutdown: {error}");
        }
    }

    /// Removes the address file if the host is a worker. The command `broker` keeps it, so that its next start uses the
    /// same port.
    fn withdraw(&self) {
        if self.kind == HostKind::Worker {
            Address::remove(&self.dir);
        }
    }

    fn stop(&mut self) -> Result<(), Error> {
        let stopped = self.server.take().map_or(Ok(()), Server::stop);
        self.withdraw();
        stopped.map_err(|error| TransportError::fatal("stop of the embedded broker", error).into())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A host dropped without `close` stops its broker too, so its address must be removed.
        if self.server.take().is_some() {
            self.withdraw();
        }
    }
}

fn interrupted(error: tokio::task::JoinError) -> Error {
    TransportError::fatal("search for the broker", error).into()
}

fn find(settings: &Settings) -> Result<Connection, Error> {
    if let Some(BrokerUrl::Kafka(brokers)) = &settings.broker {
        return Ok(client(brokers));
    }
    let dir = settings.broker_dir();
    running(&dir).ok_or_else(|| {
        Error::Misuse(format!(
            "no broker is running for app `{}` (looked in `{}`): start `worker` or `broker`, or set FAUST_BROKER",
            settings.id,
            dir.display()
        ))
    })
}

fn host(settings: &Settings, kind: HostKind) -> Result<Connection, Error> {
    if let Some(BrokerUrl::Kafka(brokers)) = &settings.broker {
        return Ok(client(brokers));
    }
    let dir = settings.broker_dir();
    let failed =
        |why: String| TransportError::fatal(format!("start of the embedded broker in `{}`", dir.display()), why);
    std::fs::create_dir_all(&dir).map_err(|error| failed(error.to_string()))?;
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        if let Some(connection) = running(&dir) {
            return Ok(connection);
        }
        if let Some(lock) = super::address::take_lock(&dir).map_err(|error| failed(error.to_string()))? {
            return start(settings, kind, dir.clone(), lock).map_err(|why| failed(why).into());
        }
        if Instant::now() > deadline {
            return Err(failed("another process holds it but does not respond; stop that one first".to_owned()).into());
        }
        // Another process has won the race and is starting, or a command is checking whether a broker is running.
        std::thread::sleep(LOOK);
    }
}

fn client(brokers: &[String]) -> Connection {
    Connection { bootstrap: brokers.join(","), role: BrokerRole::Client, notices: Vec::new() }
}

/// Returns a connection to the broker that is running in this directory, if it can be reached.
fn running(dir: &Path) -> Option<Connection> {
    let address = Address::read(dir).filter(|address| !address.is_ending())?;
    let alive = super::address::is_locked(dir) && super::probe::connects(&address.address);
    alive.then(|| Connection {
        bootstrap: address.address.clone(),
        role: BrokerRole::Guest { dir: dir.to_owned(), address },
        notices: Vec::new(),
    })
}

fn start(settings: &Settings, kind: HostKind, dir: PathBuf, lock: FileLock) -> Result<Connection, String> {
    let in_memory = settings.broker == Some(BrokerUrl::Memory);
    let wanted = former_port(settings, &dir).unwrap_or(settings.embedded_port);
    let mut config = BrokerConfig::default();
    config.storage = if in_memory { Storage::Memory } else { Storage::Directory(dir.clone()) };
    config.port = next_free(wanted);
    config.default_partitions = settings.topic_partitions;
    let neighbour = (wanted != 0).then(|| super::probe::neighbour(wanted)).flatten();
    let server = Server::start(config).map_err(|error| error.to_string())?;
    let address = Address::new(server.bootstrap(), kind);
    address.write(&dir).map_err(|error| format!("its address cannot be written: {error}"))?;
    let mut notices = vec![format!(
        "the embedded broker is running at {}; it is for one machine: set FAUST_BROKER to use a Kafka cluster",
        address.address
    )];
    if let (Some(neighbour), Some(taken)) = (neighbour, address.port().filter(|port| *port != wanted)) {
        notices.push(neighbour.notice(wanted, taken));
    } else if ![0, wanted].contains(&settings.embedded_port) {
        notices.push(format!("it keeps its previous port {wanted} instead of {}", settings.embedded_port));
    }
    let bootstrap = address.address.clone();
    let host =
        Host { kind, dir, datadir: settings.datadir.clone(), address, in_memory, server: Some(server), _lock: lock };
    Ok(Connection { bootstrap, role: BrokerRole::Host(host), notices })
}

/// Returns the previous port if it should be used again: if the previous host was the command `broker`, if guests are
/// still running, or if any port is allowed. If a worker without guests was killed, no process waits for its port, and
/// the next host uses the configured port.
fn former_port(settings: &Settings, dir: &Path) -> Option<u16> {
    let waited_for = |old: &Address| {
        old.kind == HostKind::Broker
            || settings.embedded_port == 0
            || super::worker_dir::others(&settings.datadir, None) > 0
    };
    Address::read(dir).filter(waited_for).and_then(|old| old.port())
}

/// Returns the wanted port, or one of the next 99 if it is in use, so that the port is usually the same. 0 stands for
/// any port.
fn next_free(wanted: u16) -> Port {
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    match (wanted..=wanted.saturating_add(99)).find(free) {
        Some(port) if port != 0 => Port::Prefer(port),
        _ => Port::Any,
    }
}

#[cfg(test)]
mod tests;
