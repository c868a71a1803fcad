//! A broker with its own threads, so that a busy or blocked program cannot starve it.

use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::config::{BrokerConfig, Port, Storage};
use crate::core::broker_config::check_together;
use crate::core::{BrokerCore, CoreConfig, Refusal, TopicSpec};
use crate::descriptors;
use crate::disk::Directory;
use crate::error::Error;
use crate::listener::{self, Endpoint, LogDir, Shared};

/// Number of worker threads. Two threads keep one client's reads from waiting for another client's writes; more would
/// take cores from the program.
const WORKER_THREADS: usize = 2;

/// A running broker. It stops when it is dropped.
///
/// [`start`](Self::start) is for tests: it needs no settings, stores everything in memory, and listens on a free port of
/// this machine. It works in a test with or without an async runtime: the broker has threads of its own, so a test that
/// blocks does not stop it, and brokers of concurrent tests do not share anything.
///
/// # Examples
/// A test with librdkafka, here the crate `rdkafka`:
///
/// ```
/// use std::time::Duration;
///
/// use faust_broker::Broker;
/// use rdkafka::config::ClientConfig;
/// use rdkafka::consumer::{BaseConsumer, Consumer};
/// use rdkafka::message::Message;
/// use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
///
/// let broker = Broker::start()?;
/// broker.create_topic("orders", 1)?;
///
/// let mut client = ClientConfig::new();
/// client.set("bootstrap.servers", broker.bootstrap()).set("group.id", "billing").set("auto.offset.reset", "earliest");
/// let producer: BaseProducer = client.create()?;
/// producer.send(BaseRecord::to("orders").key("anna").payload("3 books")).map_err(|(error, _)| error)?;
/// producer.flush(Duration::from_secs(30))?;
///
/// let consumer: BaseConsumer = client.create()?;
/// consumer.subscribe(&["orders"])?;
/// let message = loop {
///     if let Some(message) = consumer.poll(Duration::from_millis(100)) {
///         break message?;
///     }
/// };
/// assert_eq!(message.payload(), Some(&b"3 books"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The same in an async test:
///
/// ```
/// use faust_broker::Broker;
/// use rdkafka::config::ClientConfig;
/// use rdkafka::producer::{FutureProducer, FutureRecord};
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let broker = Broker::start()?;
///     let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create()?;
///     // The topic is created on first use.
///     let record = FutureRecord::to("orders").key("anna").payload("3 books");
///     let delivered = producer.send(record, std::time::Duration::from_secs(30)).await;
///     assert_eq!(delivered.map_err(|(error, _)| error)?.offset, 0);
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    /// The state that the thread serves. Weak, because the thread's end must close the files.
    shared: Weak<Shared>,
    /// Dropped to stop the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Broker {
    /// Starts a broker in memory, on a free port of the loopback interface. It accepts requests as soon as this returns.
    ///
    /// # Errors
    /// Returns an error if the system refuses a port or a thread.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(BrokerConfig::default())
    }

    /// Starts a broker. It accepts requests as soon as this returns.
    ///
    /// Files that are damaged, for example after a power failure, are repaired: what is whole is kept, damaged bytes are
    /// copied to a `.damaged` file beside, and both are logged. If the broker has not been stopped before, the checksums of what
    /// was not synced are verified first: up to 16 MiB per partition, and what was written in the last minute. All others are
    /// verified after the start. A start that takes longer than five seconds logs its progress.
    ///
    /// The soft limit of open files of the process is raised.
    ///
    /// # Errors
    /// Returns an error if a config is unknown or invalid, the directory is in use or cannot be read or written, the port is in
    /// use, other machines could reach the address but `expose` is not set, or the broker's thread cannot be started.
    pub fn start_with(config: BrokerConfig) -> Result<Self, Error> {
        let mut core = core_config(&config)?;
        let limit = descriptors::raise_limit();
        let listener = listen(&config)?;
        let address = listener.local_addr().map_err(|source| Error::Thread { source })?;
        let endpoint = Endpoint::new(address, config.advertised.clone());
        let log_dir = LogDir::of(&config.storage);
        let described = endpoint.as_configs().into_iter().chain([("log.dirs", log_dir.name.clone())]);
        core.configs.extend(described.map(|(name, value)| (name.to_owned(), value)));
        let max_connections = descriptors::connections(limit);
        let (broker, directory) = open(&config.storage, core, address, descriptors::open_segments(limit))?;
        let shared = Arc::new(Shared::new(broker, endpoint, log_dir));
        let weak = Arc::downgrade(&shared);
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
        Ok(Self { address, shared: weak, stop: Some(stop), thread: Some(thread) })
    }

    /// Creates a topic with default configs, without the way over a client.
    ///
    /// # Errors
    /// Returns an error if the topic exists already, its name is invalid, or the number of partitions is not between 1
    /// and 10000.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), Error> {
        let shared = self.shared.upgrade().ok_or(Error::Panicked)?;
        let spec = TopicSpec { partitions, ..TopicSpec::default() };
        let created = shared.lock().broker.create_topic(name, spec).map(|_| ());
        created.map_err(|source| Error::Topic { topic: name.to_owned(), source })
    }

    /// Returns the address the broker listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the value of `bootstrap.servers` for clients on this machine.
    pub fn bootstrap(&self) -> String {
        reachable(self.address).to_string()
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

/// Returns an address at which this machine reaches a broker that listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let host = match address.ip() {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    SocketAddr::new(host, address.port())
}

fn listen(config: &BrokerConfig) -> Result<TcpListener, Error> {
    let host = config.host;
    if !host.is_loopback() && !config.expose {
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

/// Checks the configs.
pub(crate) fn core_config(config: &BrokerConfig) -> Result<CoreConfig, Error> {
    let seed = std::hash::RandomState::new().build_hasher().finish();
    let refused = |name: &str, refusal: Refusal| Error::Config { name: name.to_owned(), reason: refusal.message };
    let core = config.configs.iter().try_fold(CoreConfig::seeded(seed), |core, (name, value)| {
        core.with_config(name, value).map_err(|refusal| refused(name, refusal))
    })?;
    check_together(&core.configs).map_err(|refusal| refused("group.min.session.timeout.ms", refusal))?;
    Ok(core)
}

fn open(
    storage: &Storage,
    core: CoreConfig,
    address: SocketAddr,
    open_segments: NonZeroUsize,
) -> Result<(BrokerCore, Option<Directory>), Error> {
    match storage {
        Storage::Memory => Ok((BrokerCore::new(core), None)),
        Storage::Directory(path) => {
            let directory = Directory::lock(path, address)?;
            let broker = directory.open(core, open_segments)?;
            Ok((broker, Some(directory)))
        }
    }
}
