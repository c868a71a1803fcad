//! A broker with its own threads, so that a busy or blocked program cannot starve it.

use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::config::{BrokerConfig, Port, Storage};
use crate::core::{BrokerCore, CoreConfig};
use crate::descriptors;
use crate::disk::Directory;
use crate::error::Error;
use crate::listener::{self, Shared};

/// Number of worker threads. Two threads keep one client's reads from waiting for another client's writes; more would
/// take cores from the program.
const WORKER_THREADS: usize = 2;

/// A running broker. It stops when it is dropped.
///
/// ```
/// use faust_broker::{BrokerConfig, Broker};
///
/// let server = Broker::start_with(BrokerConfig::default())?;
/// println!("bootstrap.servers={}", server.bootstrap());
/// server.stop()?;
/// # Ok::<(), faust_broker::Error>(())
/// ```
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    /// Dropped to stop the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Broker {
    /// Starts a broker. It accepts requests as soon as this returns.
    ///
    /// Files that are damaged, for example after a power failure, are repaired: what is whole is kept, damaged bytes are
    /// copied to a `.damaged` file beside, and both are logged. If the broker has not been stopped before, all checksums are
    /// verified, which takes about as long as reading all files once.
    ///
    /// The soft limit of open files of the process is raised.
    ///
    /// # Errors
    /// Returns an error if the directory is in use or cannot be read or written, the port is in use, the address is not a
    /// loopback address, or the broker's thread cannot be started.
    pub fn start_with(config: BrokerConfig) -> Result<Self, Error> {
        let limit = descriptors::raise_limit();
        let listener = listen(&config)?;
        let address = listener.local_addr().map_err(|source| Error::Thread { source })?;
        let max_connections = descriptors::connections(limit);
        let (broker, directory) = open(&config, address, descriptors::open_segments(limit))?;
        let shared = Arc::new(Shared::new(broker, config, address));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKER_THREADS)
            .thread_name("faust-broker")
            .enable_io()
            .enable_time()
            .build()
            .map_err(|source| Error::Thread { source })?;
        let serve = move || {
            // The directory's lock is released last, after the last write to it.
            let (_directory, shared) = (directory, shared);
            runtime.block_on(listener::serve(listener, Arc::clone(&shared), max_connections, stopped));
            // Waits until no request is in progress.
            drop(runtime);
            shared.lock().broker.close().map_err(|source| Error::Unsynced { source })
        };
        let thread = std::thread::Builder::new().name("faust-broker".into()).spawn(serve);
        let thread = thread.map_err(|source| Error::Thread { source })?;
        tracing::debug!(%address, "the broker is listening");
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Returns the address the broker listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the value for the clients' `bootstrap.servers` setting.
    pub fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    /// Stops the broker and waits until it has synced its files, and released its port and its directory.
    ///
    /// # Errors
    /// [`Error::Unsynced`] if the files cannot be synced, [`Error::Panicked`] if its thread has panicked.
    pub fn stop(mut self) -> Result<(), Error> {
        self.halt()
    }

    fn halt(&mut self) -> Result<(), Error> {
        drop(self.stop.take());
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap_or(Err(Error::Panicked)))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = self.halt() {
            tracing::error!(%error, "the broker has failed to stop");
        }
    }
}

fn listen(config: &BrokerConfig) -> Result<TcpListener, Error> {
    let host = config.host;
    if !host.is_loopback() {
        return Err(Error::NotLoopback { host });
    }
    let port = match config.port {
        Port::Exact(port) | Port::Prefer(port) => port,
        Port::Any => 0,
    };
    let bound = match (TcpListener::bind((host, port)), config.port) {
        (Err(error), Port::Prefer(_)) if error.kind() == io::ErrorKind::AddrInUse => TcpListener::bind((host, 0)),
        (bound, _) => bound,
    };
    let failed = |source| Error::Listen { host, port, source };
    let listener = bound.map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

fn open(
    config: &BrokerConfig,
    address: SocketAddr,
    open_segments: NonZeroUsize,
) -> Result<(BrokerCore, Option<Directory>), Error> {
    let delay_ms = config.initial_rebalance_delay.as_millis();
    let core = CoreConfig {
        seed: std::hash::RandomState::new().build_hasher().finish(),
        initial_rebalance_delay_ms: i64::try_from(delay_ms).unwrap_or(i64::MAX),
        ..CoreConfig::default()
    };
    match &config.storage {
        Storage::Memory => Ok((BrokerCore::new(core), None)),
        Storage::Directory(path) => {
            let directory = Directory::lock(path, address)?;
            let broker = directory.open(core, open_segments)?;
            Ok((broker, Some(directory)))
        }
    }
}
