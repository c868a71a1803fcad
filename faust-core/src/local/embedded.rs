//! The embedded broker of an app: found in its directory, or started in this process.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use faust_broker::{Broker, BrokerConfig, Error as BrokerError, Port, Storage};

use super::address::Address;
use super::broker_options::BrokerOptions;
use super::host_kind::HostKind;
use super::worker_dir::WorkerDir;
use crate::config::{BrokerUrl, Settings};
use crate::error::{Error, TransportError, chain};
use crate::store::lock::FileLock;

/// Maximum time to wait for a broker that another process is starting.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// Poll interval for files that other processes change.
const LOOK: Duration = Duration::from_millis(100);

/// The running embedded broker.
#[derive(Debug)]
pub(super) enum Embedded {
    /// This process runs it.
    Host(Host),
    /// Another process on this machine runs it.
    Guest { dir: PathBuf, address: Address },
}

impl Embedded {
    /// Finds the embedded broker, or starts it with these options if it is not running. Blocks.
    pub(super) fn host(settings: &Settings, kind: HostKind, options: &BrokerOptions) -> Result<Self, Error> {
        let dir = settings.broker_dir();
        let failed =
            |why: String| TransportError::fatal(format!("start of the embedded broker in `{}`", dir.display()), why);
        std::fs::create_dir_all(&dir).map_err(|error| failed(error.to_string()))?;
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            if let Some(guest) = running(&dir) {
                return Ok(guest);
            }
            if let Some(lock) = super::address::take_lock(&dir).map_err(|error| failed(error.to_string()))? {
                let started = start(settings, kind, options, dir.clone(), lock);
                return started.map(Self::Host).map_err(|why| failed(why).into());
            }
            if Instant::now() > deadline {
                let why = "another process holds it but does not respond; stop that one first";
                return Err(failed(why.to_owned()).into());
            }
            // Another process has won the race and is starting, or a command is checking whether a broker is running.
            std::thread::sleep(LOOK);
        }
    }

    /// Finds the embedded broker without starting it. Blocks.
    pub(super) fn find(settings: &Settings) -> Result<Self, Error> {
        let dir = settings.broker_dir();
        running(&dir).ok_or_else(|| {
            Error::Misuse(format!(
                "no broker is running for app `{}` (looked in `{}`): start `worker` or `broker`, or set FAUST_BROKER",
                settings.id,
                dir.display()
            ))
        })
    }

    pub(super) fn bootstrap(&self) -> &str {
        match self {
            Self::Host(host) => &host.address.address,
            Self::Guest { address, .. } => &address.address,
        }
    }

    pub(super) fn is_host(&self) -> bool {
        matches!(self, Self::Host(_))
    }

    /// Returns the notices to print at start-up, one line each.
    pub(super) fn notices(&self) -> &[String] {
        match self {
            Self::Host(host) => &host.notices,
            Self::Guest { .. } => &[],
        }
    }

    /// Describes the host of the broker, for the start-up table.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Host(host) if host.in_memory => "embedded, in memory".to_owned(),
            Self::Host(host) => format!("embedded, data in {}", host.dir.display()),
            Self::Guest { address, .. } => format!("embedded in {} {}", address.kind, address.pid),
        }
    }

    /// Waits until the worker that hosts the broker shuts down or the broker has moved, and returns the reason. Never
    /// resolves if this process hosts the broker.
    pub(super) async fn gone(&self) -> String {
        let Self::Guest { dir, address } = self else { return std::future::pending().await };
        loop {
            if let Some(reason) = address.departure(dir) {
                return reason;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Announces to the guests that the broker hosted here is about to stop.
    pub(super) fn announce_end(&self) {
        if let Self::Host(host) = self {
            host.announce_end();
        }
    }

    /// Stops a broker hosted here, once the other workers have exited or `within` has passed.
    pub(super) async fn close(self, own: Option<&WorkerDir>, within: Duration) -> Result<(), Error> {
        let Self::Host(mut host) = self else { return Ok(()) };
        host.announce_end();
        let deadline = Instant::now() + within;
        while host.kind == HostKind::Worker
            && super::worker_dir::others(&host.datadir, own) > 0
            && Instant::now() < deadline
        {
            tokio::time::sleep(LOOK).await;
        }
        let stopped = tokio::task::spawn_blocking(move || host.stop()).await;
        stopped.map_err(|error| TransportError::fatal("stop of the embedded broker", error))?
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
    notices: Vec<String>,
    /// The server; `None` once it is stopped.
    server: Option<Broker>,
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
        let stopped = self.server.take().map_or(Ok(()), Broker::stop);
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

/// Returns the broker that another process runs in this directory, if it can be reached.
fn running(dir: &Path) -> Option<Embedded> {
    let address = Address::read(dir).filter(|address| !address.is_ending())?;
    let alive = super::address::is_locked(dir) && super::probe::connects(&address.address);
    alive.then(|| Embedded::Guest { dir: dir.to_owned(), address })
}

fn start(
    settings: &Settings,
    kind: HostKind,
    options: &BrokerOptions,
    dir: PathBuf,
    lock: FileLock,
) -> Result<Host, String> {
    let in_memory = settings.broker == Some(BrokerUrl::Memory);
    let wanted = options.port.or_else(|| former_port(settings, &dir)).unwrap_or(settings.embedded_port);
    let storage = if in_memory { Storage::Memory } else { Storage::Directory(dir.clone()) };
    let config = broker_config(settings, options, storage, wanted);
    let neighbour = (wanted != 0).then(|| super::probe::neighbour(wanted)).flatten();
    let is_exact = matches!(config.port, Port::Exact(_));
    let server = Broker::start_with(config).map_err(|error| match (neighbour, &error) {
        (Some(neighbour), BrokerError::Listen { .. }) if is_exact => neighbour.refusal(wanted),
        (_, BrokerError::NotLoopback { host }) => format!(
            "refusing to listen on {host}, which other machines may reach: the broker has no authentication; use \
             127.0.0.1, or allow it with `--expose`"
        ),
        _ => chain(&error),
    })?;
    let address = Address::new(server.bootstrap(), kind);
    address.write(&dir).map_err(|error| format!("its address cannot be written: {error}"))?;
    let mut notices = vec![match options.expose {
        true => format!(
            "WARNING: other machines can reach the embedded broker at {}: it has no authentication, so everyone who \
             reaches it can read and delete everything",
            server.address()
        ),
        false => format!(
            "the embedded broker is running at {}; it is for one machine: set FAUST_BROKER to use a Kafka cluster",
            address.address
        ),
    }];
    if let (Some(neighbour), Some(taken)) = (neighbour, address.port().filter(|port| *port != wanted)) {
        notices.push(neighbour.notice(wanted, taken));
    } else if options.port.is_none() && ![0, wanted].contains(&settings.embedded_port) {
        notices.push(format!("it keeps its previous port {wanted} instead of {}", settings.embedded_port));
    }
    let datadir = settings.datadir.clone();
    Ok(Host { kind, dir, datadir, address, in_memory, notices, server: Some(server), _lock: lock })
}

fn broker_config(settings: &Settings, options: &BrokerOptions, storage: Storage, wanted: u16) -> BrokerConfig {
    // The group accepts the session timeout of this app, which may be shorter than the least one of a Kafka.
    let session = settings.broker_session_timeout.min(Duration::from_secs(6));
    let mut config = BrokerConfig::new(storage, Port::Any)
        .with_default_partitions(settings.topic_partitions)
        .with_min_session_timeout(session);
    config.host = match options.host {
        Some(host) => host,
        None if options.expose => Ipv4Addr::UNSPECIFIED.into(),
        None => Ipv4Addr::LOCALHOST.into(),
    };
    config.expose = options.expose;
    config.advertised.clone_from(&options.advertised);
    config.port = if options.is_strict(settings) { Port::Exact(wanted) } else { next_free(config.host, wanted) };
    let configs = options.configs.iter();
    configs.fold(config, |config, (name, value)| config.with_config(name, value))
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
fn next_free(host: IpAddr, wanted: u16) -> Port {
    let free = |port: &u16| TcpListener::bind((host, *port)).is_ok();
    match (wanted..=wanted.saturating_add(99)).find(free) {
        Some(port) if port != 0 => Port::Prefer(port),
        _ => Port::Any,
    }
}

#[cfg(test)]
mod tests;
