//! The way to the broker of an app: the Kafka that is set, or the embedded broker, found or started.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use faust_broker::{BrokerConfig, Port, Server, Storage};

use super::address::{Address, HostKind};
use super::worker_dir::WorkerDir;
use crate::config::{BrokerUrl, Settings};
use crate::error::{Error, TransportError};

/// How long a broker that another process is just starting may take to answer.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// How often files that other processes change are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A way to a broker, and the broker itself if this process hosts it.
#[derive(Debug)]
pub struct Connection {
    pub(super) bootstrap: String,
    pub(super) role: Role,
    pub(super) notices: Vec<String>,
}

#[derive(Debug)]
pub(super) enum Role {
    /// The broker was set: a Kafka with a life of its own.
    Client,
    /// This process runs the embedded broker.
    Host(Host),
    /// Another process of this machine runs it.
    Guest { dir: PathBuf, address: Address },
}

impl Connection {
    /// Finds the broker of this app, and starts the embedded one if there is none. For `worker` and `broker`.
    ///
    /// # Errors
    /// The embedded broker cannot start, or another process holds its directory and does not answer.
    pub async fn host(settings: &Settings, kind: HostKind) -> Result<Self, Error> {
        let settings = settings.clone();
        // Files, locks and the start of a server: nothing of it is asynchronous.
        tokio::task::spawn_blocking(move || host(&settings, kind)).await.map_err(interrupted)?
    }

    /// Finds the broker of this app. For commands, which never start one.
    ///
    /// # Errors
    /// No broker is set, and none runs.
    pub async fn find(settings: &Settings) -> Result<Self, Error> {
        let settings = settings.clone();
        tokio::task::spawn_blocking(move || find(&settings)).await.map_err(interrupted)?
    }

    /// What a Kafka client connects to: `host:port`, several separated by commas.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Whether the embedded broker runs in this process.
    pub fn is_host(&self) -> bool {
        matches!(self.role, Role::Host(_))
    }

    /// What people should be told at start, one line each.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// For the start-up table: the address, and whose broker it is.
    pub fn describe(&self) -> String {
        let bootstrap = &self.bootstrap;
        match &self.role {
            Role::Client => format!("kafka://{bootstrap}"),
            Role::Host(host) if host.in_memory => format!("kafka://{bootstrap} (embedded, in memory)"),
            Role::Host(host) => format!("kafka://{bootstrap} (embedded, data in {})", host.dir.display()),
            Role::Guest { address, .. } => {
                format!("kafka://{bootstrap} (embedded in {} {})", address.kind, address.pid)
            }
        }
    }

    /// Resolves with the reason when the worker that hosts the broker ends in order, or the broker has moved; never, if
    /// no other process hosts it.
    pub async fn gone(&self) -> String {
        let Role::Guest { dir, address } = &self.role else { return std::future::pending().await };
        loop {
            if let Some(reason) = address.departure(dir) {
                return reason;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Tells the guests of a broker hosted here that it is about to end, so that they can finish while it still runs.
    pub fn announce_end(&self) {
        if let Role::Host(host) = &self.role {
            host.announce_end();
        }
    }

    /// Ends a broker hosted here: tells the other workers, gives them `within` to leave, stops it. Otherwise nothing.
    /// `own` is this worker's directory, which does not count as another's.
    ///
    /// # Errors
    /// The broker could not write what it still had to.
    pub async fn close(self, own: Option<&WorkerDir>, within: Duration) -> Result<(), Error> {
        let Role::Host(mut host) = self.role else { return Ok(()) };
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

/// The running broker and what says to others that it runs.
#[derive(Debug)]
pub(super) struct Host {
    kind: HostKind,
    dir: PathBuf,
    /// Where the numbered directories of the workers lie.
    datadir: PathBuf,
    address: Address,
    in_memory: bool,
    /// Taken when it is stopped.
    server: Option<Server>,
    /// Held for as long as the broker runs; the system releases it even after `kill -9`.
    _lock: File,
}

impl Host {
    /// Only a worker takes its guests with it. For those of the command `broker` it is away, as any Kafka may be.
    fn announce_end(&self) {
        if self.kind == HostKind::Broker {
            return;
        }
        if let Err(error) = self.address.clone().ending().write(&self.dir) {
            tracing::warn!(target: "faust::broker", "the other workers cannot be told that this one ends: {error}");
        }
    }

    /// A worker's address goes with it; that of the command `broker` stays, so that its next start takes the same port.
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
        // A host dropped without `close` ends its broker just the same, and nobody may look for it.
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
            "no broker runs for app `{}` (looked in `{}`): start `worker` or `broker`, or set FAUST_BROKER",
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
            return Err(failed("another process holds it and does not answer; end that one first".to_owned()).into());
        }
        // Another process has won the race and is starting; or a command has just looked whether one runs.
        std::thread::sleep(LOOK);
    }
}

fn client(brokers: &[String]) -> Connection {
    Connection { bootstrap: brokers.join(","), role: Role::Client, notices: Vec::new() }
}

/// The broker that runs on this directory, if it can be reached.
fn running(dir: &Path) -> Option<Connection> {
    let address = Address::read(dir).filter(|address| !address.is_ending())?;
    let alive = super::address::is_locked(dir) && super::probe::connects(&address.address);
    alive.then(|| Connection {
        bootstrap: address.address.clone(),
        role: Role::Guest { dir: dir.to_owned(), address },
        notices: Vec::new(),
    })
}

fn start(settings: &Settings, kind: HostKind, dir: PathBuf, lock: File) -> Result<Connection, String> {
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
        "the embedded broker runs at {}; it is for one machine: set FAUST_BROKER to use a Kafka",
        address.address
    )];
    if let (Some(neighbour), Some(taken)) = (neighbour, address.port().filter(|port| *port != wanted)) {
        notices.push(neighbour.notice(wanted, taken));
    } else if ![0, wanted].contains(&settings.embedded_port) {
        notices.push(format!("it keeps port {wanted}, which it had before, instead of {}", settings.embedded_port));
    }
    let bootstrap = address.address.clone();
    let host =
        Host { kind, dir, datadir: settings.datadir.clone(), address, in_memory, server: Some(server), _lock: lock };
    Ok(Connection { bootstrap, role: Role::Host(host), notices })
}

/// The port that somebody may wait for: that of the command `broker`, that of a host whose guests still run, and any if
/// no port was asked for. A worker that was killed alone leaves nobody, and the next is found at the usual port.
fn former_port(settings: &Settings, dir: &Path) -> Option<u16> {
    let waited_for = |old: &Address| {
        old.kind == HostKind::Broker
            || settings.embedded_port == 0
            || super::worker_dir::others(&settings.datadir, None) > 0
    };
    Address::read(dir).filter(waited_for).and_then(|old| old.port())
}

/// The wanted port or one of the next, so that people find the same one again; 0 wants any.
fn next_free(wanted: u16) -> Port {
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    match (wanted..=wanted.saturating_add(99)).find(free) {
        Some(port) if port != 0 => Port::Prefer(port),
        _ => Port::Any,
    }
}

#[cfg(test)]
mod tests;
