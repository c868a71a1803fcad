//! A proxy in front of the brokers that holds requests back, and may delay all bytes and break connections.
//!
//! Clients learn the brokers' addresses from answers, and would leave out a proxy that they know as a bootstrap address only.
//! So the proxy replaces the addresses in the answers by its own, and works on every broker without a change to its
//! configuration.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, DescribeClusterResponse, FindCoordinatorResponse, JoinGroupResponse, MetadataResponse, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::random::Random;

/// Longest delay of a request or an answer.
const LATENCY: Duration = Duration::from_millis(80);
/// Shortest and longest time after which a connection breaks with its next request or answer.
const LIFETIME: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// The requests whose answers are read.
const READ: [ApiKey; 6] = [
    ApiKey::Metadata,
    ApiKey::DescribeCluster,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::OffsetFetch,
    ApiKey::Produce,
];

/// A proxy in front of the brokers of a cluster. It runs as long as the runtime of its test.
pub(crate) struct Proxy {
    bootstrap: String,
    relay: Arc<Relay>,
}

impl Proxy {
    /// Starts an unkind proxy in front of the cluster with this bootstrap address.
    pub(crate) fn start(bootstrap: &str, random: Random) -> Self {
        Self::with(bootstrap, Some(random))
    }

    /// Starts a proxy that neither delays anything nor breaks connections.
    pub(crate) fn steady(bootstrap: &str) -> Self {
        Self::with(bootstrap, None)
    }

    fn with(bootstrap: &str, random: Option<Random>) -> Self {
        let relay = Arc::new(Relay {
            ports: Mutex::default(),
            random: random.map(Mutex::new),
            cuts: AtomicU64::new(0),
            generation: AtomicI32::new(0),
            holds_after_offsets: AtomicBool::new(false),
            loses_acknowledgements: AtomicBool::new(false),
            held: watch::Sender::new(Held::Nothing),
        });
        let ports: Vec<_> = bootstrap.split(',').map(|address| Relay::port(&relay, address)).collect();
        let bootstrap = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
        Self { bootstrap, relay }
    }

    /// Returns the bootstrap address for clients.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Returns how many connections were broken so far.
    pub(crate) fn cuts(&self) -> u64 {
        self.relay.cuts.load(Ordering::Relaxed)
    }

    /// Returns the highest generation of a consumer group so far, which is the number of its rebalances.
    pub(crate) fn generation(&self) -> u64 {
        u64::try_from(self.relay.generation.load(Ordering::Relaxed)).unwrap()
    }

    /// Holds all requests back that follow the next answer with committed offsets, until [`release`](Self::release).
    pub(crate) fn hold_after_committed_offsets(&self) {
        self.relay.holds_after_offsets.store(true, Ordering::Relaxed);
    }

    /// Holds all messages back that are sent from now on, and what follows them on their connections, until
    /// [`release`](Self::release).
    pub(crate) fn hold_messages(&self) {
        self.relay.held.send_replace(Held::Messages);
    }

    /// Breaks the connection of each acknowledgement of messages, and refuses new connections, until [`release`](Self::release): the
    /// broker has the messages, and the client does not know.
    pub(crate) fn lose_acknowledgements(&self) {
        self.relay.loses_acknowledgements.store(true, Ordering::Relaxed);
    }

    /// Returns whether requests are held back.
    pub(crate) fn is_holding(&self) -> bool {
        *self.relay.held.borrow() != Held::Nothing
    }

    /// Lets requests pass again.
    pub(crate) fn release(&self) {
        self.relay.loses_acknowledgements.store(false, Ordering::Relaxed);
        self.relay.held.send_replace(Held::Nothing);
    }
}

/// The requests that are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    Messages,
    All,
}

impl Held {
    fn holds(self, request: &[u8]) -> bool {
        match self {
            Self::Nothing => false,
            Self::Messages => request[4..6] == (ApiKey::Produce as i16).to_be_bytes(),
            Self::All => true,
        }
    }
}

/// The state that all connections share.
struct Relay {
    /// The proxy's port for each broker, by the broker's address.
    ports: Mutex<BTreeMap<String, u16>>,
    /// Decides about delays and ends of connections, if there are any.
    random: Option<Mutex<Random>>,
    cuts: AtomicU64,
    generation: AtomicI32,
    /// The next answer with committed offsets is the last one before requests are held.
    holds_after_offsets: AtomicBool,
    /// Acknowledgements of messages are lost.
    loses_acknowledgements: AtomicBool,
    held: watch::Sender<Held>,
}

/// Key and version of the requests whose answers are read, by correlation id.
type Asked = Mutex<HashMap<i32, (ApiKey, i16)>>;

impl Relay {
    /// Returns the port of the proxy that leads to the broker at this address, and opens it if there is none.
    fn port(relay: &Arc<Self>, address: &str) -> u16 {
        let mut ports = relay.ports.lock().unwrap();
        if let Some(port) = ports.get(address) {
            return *port;
        }
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        ports.insert(address.to_owned(), port);
        let (relay, address) = (Arc::clone(relay), address.to_owned());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (relay, address) = (Arc::clone(&relay), address.clone());
                tokio::spawn(async move {
                    // Closed by one of the two: the other one is closed now.
                    drop(Self::serve(&relay, client, &address).await);
                });
            }
        });
        port
    }

    /// Relays one connection until one of the two closes it or it breaks.
    async fn serve(relay: &Arc<Self>, mut client: TcpStream, address: &str) -> io::Result<()> {
        if relay.loses_acknowledgements.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut broker = TcpStream::connect(address).await?;
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let mut random = relay.random.as_ref().map(|random| random.lock().unwrap().fork());
        let end =
            random.as_mut().map(|random| Instant::now() + LIFETIME.0 + random.while_below(LIFETIME.1 - LIFETIME.0));
        // If an answer is lost, the broker has done what it was asked to do.
        let loses_an_answer = random.as_mut().is_some_and(|random| random.below(2) == 0);
        let asked = Asked::default();
        let (from_client, to_client) = client.split();
        let (from_broker, to_broker) = broker.split();
        let requests = Direction {
            random: random.as_mut().map(Random::fork),
            end: end.filter(|_| !loses_an_answer),
            held: relay.held.subscribe(),
        };
        let requests = requests.run(from_client, to_broker, |frame| Some(note(&asked, frame)));
        // Answers are never held.
        let held = watch::Sender::new(Held::Nothing).subscribe();
        let answers = Direction { random, end: end.filter(|_| loses_an_answer), held };
        let answers = answers.run(from_broker, to_client, |frame| Self::readdress(relay, &asked, frame));
        tokio::select! { ended = requests => ended, ended = answers => ended }?;
        relay.cuts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Replaces the addresses of brokers in an answer. Returns `None` if the answer is lost.
    fn readdress(relay: &Arc<Self>, asked: &Asked, answer: Bytes) -> Option<Bytes> {
        let correlation = i32::from_be_bytes(answer[4..8].try_into().unwrap());
        let Some((api, version)) = asked.lock().unwrap().remove(&correlation) else { return Some(answer) };
        if api == ApiKey::Produce && relay.loses_acknowledgements.load(Ordering::Relaxed) {
            return None;
        }
        let replace = |host: &mut StrBytes, port: &mut i32| {
            // Without a coordinator, there is no address.
            if *port > 0 {
                *port = i32::from(Self::port(relay, &format!("{}:{port}", host.as_str())));
                *host = StrBytes::from_static_str("127.0.0.1");
            }
        };
        Some(match api {
            ApiKey::Metadata => edited(version, &answer, |answer: &mut MetadataResponse| {
                answer.brokers.iter_mut().for_each(|broker| replace(&mut broker.host, &mut broker.port));
            }),
            ApiKey::DescribeCluster => edited(version, &answer, |answer: &mut DescribeClusterResponse| {
                answer.brokers.iter_mut().for_each(|broker| replace(&mut broker.host, &mut broker.port));
            }),
            ApiKey::FindCoordinator => edited(version, &answer, |answer: &mut FindCoordinatorResponse| {
                replace(&mut answer.host, &mut answer.port);
                answer.coordinators.iter_mut().for_each(|found| replace(&mut found.host, &mut found.port));
            }),
            ApiKey::OffsetFetch => {
                if relay.holds_after_offsets.swap(false, Ordering::Relaxed) {
                    relay.held.send_replace(Held::All);
                }
                answer
            }
            ApiKey::JoinGroup => edited(version, &answer, |answer: &mut JoinGroupResponse| {
                relay.generation.fetch_max(answer.generation_id, Ordering::Relaxed);
            }),
            _ => answer,
        })
    }
}

/// Remembers a request whose answer will be read.
fn note(asked: &Asked, request: Bytes) -> Bytes {
    let number = |from: usize| i16::from_be_bytes(request[from..from + 2].try_into().unwrap());
    if let Some(api) = READ.into_iter().find(|api| *api as i16 == number(4)) {
        let correlation = i32::from_be_bytes(request[8..12].try_into().unwrap());
        asked.lock().unwrap().insert(correlation, (api, number(6)));
    }
    request
}

/// Decodes an answer, changes it and encodes it again.
fn edited<R: Decodable + Encodable + HeaderVersion>(version: i16, frame: &Bytes, change: impl FnOnce(&mut R)) -> Bytes {
    let mut rest = frame.slice(4..);
    let header = ResponseHeader::decode(&mut rest, R::header_version(version)).unwrap();
    let mut answer = R::decode(&mut rest, version).unwrap();
    change(&mut answer);
    let mut out = BytesMut::from(&[0; 4][..]);
    header.encode(&mut out, R::header_version(version)).unwrap();
    answer.encode(&mut out, version).unwrap();
    let length = u32::try_from(out.len() - 4).unwrap();
    out[..4].copy_from_slice(&length.to_be_bytes());
    out.freeze()
}

/// One direction of a connection.
struct Direction {
    /// Decides about the delays, if there are any.
    random: Option<Random>,
    /// The first frame after this moment is cut in half, and the connection with it.
    end: Option<Instant>,
    held: watch::Receiver<Held>,
}

impl Direction {
    /// Relays frames. Returns once it has broken the connection.
    async fn run(
        mut self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        mut edit: impl FnMut(Bytes) -> Option<Bytes>,
    ) -> io::Result<()> {
        loop {
            let Some(frame) = edit(read_frame(&mut from).await?) else { return Ok(()) };
            if let Some(random) = &mut self.random {
                tokio::time::sleep(random.while_below(LATENCY)).await;
            }
            // An error means that the sender is gone, and nothing is held any more.
            drop(self.held.wait_for(|held| !held.holds(&frame)).await);
            if self.end.is_some_and(|end| end <= Instant::now()) {
                return to.write_all(&frame[..frame.len() / 2]).await;
            }
            to.write_all(&frame).await?;
        }
    }
}

/// Reads a frame with its length.
async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let length = from.read_u32().await?;
    let mut frame = BytesMut::with_capacity(4 + length as usize);
    frame.put_u32(length);
    frame.resize(4 + length as usize, 0);
    from.read_exact(&mut frame[4..]).await?;
    Ok(frame.freeze())
}
