//! A TCP proxy between the workers and the brokers: delays, resets and cut-offs.
//!
//! The brokers advertise the proxy's ports on a second listener, so it relays bytes and knows nothing of the protocol.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use super::cluster::Listener;
use crate::BoxError;
use crate::random::Random;

/// The bounds of the network's faults: delays, lives of connections, and silences.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unkindness {
    /// Longest delay of a piece of data.
    latency: Duration,
    /// Shortest and longest life of a connection.
    life: (Duration, Duration),
    /// Shortest and longest time for which nothing passes before a connection ends that way.
    silence: (Duration, Duration),
}

impl Default for Unkindness {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { latency: ms(40), life: (ms(500), ms(8_000)), silence: (ms(1_000), ms(5_000)) }
    }
}

/// Interval at which a silent connection looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// Counters of connections and of their faults.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) delays: AtomicU64,
    pub(crate) resets: AtomicU64,
    pub(crate) cuts: AtomicU64,
    pub(crate) silences: AtomicU64,
}

impl Network {
    /// Returns the number of broken connections.
    pub(crate) fn broken(&self) -> u64 {
        [&self.resets, &self.cuts, &self.silences].iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Returns whether every kind of fault has occurred.
    pub(crate) fn has_all(&self) -> bool {
        let all = [&self.delays, &self.resets, &self.cuts, &self.silences];
        all.iter().all(|count| count.load(Ordering::Relaxed) > 0)
    }

    /// Returns the counts in words.
    pub(crate) fn shown(&self) -> String {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Self { delays, resets, cuts, silences } = self;
        format!(
            "{} delays, {} resets, {} cut-offs, {} silent connections",
            of(delays),
            of(resets),
            of(cuts),
            of(silences)
        )
    }
}

/// A proxy in front of all brokers.
pub(crate) struct Proxy {
    bootstrap: String,
    shared: Arc<Shared>,
}

struct Shared {
    unkind: AtomicBool,
    unkindness: Unkindness,
    random: Mutex<Random>,
    network: Network,
}

impl Proxy {
    /// Starts listening on the ports that the brokers advertise. The network is kind until
    /// [`set_unkind`](Self::set_unkind).
    pub(crate) fn start(listeners: Vec<Listener>, random: Random, unkindness: Unkindness) -> Result<Self, BoxError> {
        let (unkind, network) = (AtomicBool::new(false), Network::default());
        let shared = Arc::new(Shared { unkind, unkindness, random: Mutex::new(random), network });
        let addresses: Vec<_> = listeners.iter().map(|listener| format!("127.0.0.1:{}", listener.advertised)).collect();
        for Listener { advertised, behind } in listeners {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, advertised))
                .map_err(|error| format!("port {advertised}, which a broker advertises, cannot be opened: {error}"))?;
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                for client in listener.incoming().map_while(Result::ok) {
                    let shared = Arc::clone(&shared);
                    // A broker that is down: the connection is closed.
                    std::thread::spawn(move || drop(serve(&shared, client, behind)));
                }
            });
        }
        Ok(Self { bootstrap: addresses.join(","), shared })
    }

    /// Returns the bootstrap address for the workers.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Turns the faults on or off.
    pub(crate) fn set_unkind(&self, unkind: bool) {
        self.shared.unkind.store(unkind, Ordering::Relaxed);
    }

    /// Returns what has happened so far.
    pub(crate) fn network(&self) -> &Network {
        &self.shared.network
    }
}

/// The end of a connection.
#[derive(Clone, Copy)]
enum End {
    /// Both sides receive a reset.
    Reset,
    /// Half of a piece of data passes, then both sides are closed.
    CutOff,
    /// Nothing passes for a time, then both sides receive a reset.
    Silence(Duration),
}

/// One direction of a connection.
struct Relay {
    shared: Arc<Shared>,
    random: Random,
    from: TcpStream,
    to: TcpStream,
    /// The end of this connection, once the network has been unkind.
    doom: Option<(Instant, End)>,
    /// Set once the connection is reset: a socket sends a reset only when both directions have closed it.
    is_reset: Arc<AtomicBool>,
}

/// Relays one connection until one of the two closes it, or it breaks.
fn serve(shared: &Arc<Shared>, client: TcpStream, behind: SocketAddr) -> std::io::Result<()> {
    let broker = TcpStream::connect(behind)?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let mut random = shared.random.lock().unwrap_or_else(PoisonError::into_inner).fork();
    let is_reset = Arc::new(AtomicBool::new(false));
    let relay = |random, from, to| Relay {
        shared: Arc::clone(shared),
        random,
        from,
        to,
        doom: None,
        is_reset: Arc::clone(&is_reset),
    };
    let answers = relay(random.fork(), broker.try_clone()?, client.try_clone()?);
    let requests = relay(random, client, broker);
    let thread = std::thread::spawn(move || answers.run());
    requests.run();
    // A panic of the thread has been printed.
    drop(thread.join());
    Ok(())
}

impl Relay {
    fn run(mut self) {
        // An error means that one of the two has closed the connection: the other one is closed now.
        drop(self.relay());
        if self.is_reset.load(Ordering::Relaxed) {
            return;
        }
        drop(self.from.shutdown(Shutdown::Both));
        drop(self.to.shutdown(Shutdown::Both));
    }

    fn relay(&mut self) -> std::io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        self.from.set_read_timeout(Some(LOOK))?;
        loop {
            let unkind = self.shared.unkind.load(Ordering::Relaxed);
            let read = match self.from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    0
                }
                Err(error) => return Err(error),
            };
            if self.is_reset.load(Ordering::Relaxed) {
                return Ok(());
            }
            if !unkind {
                self.doom = None;
                self.to.write_all(&buffer[..read])?;
                continue;
            }
            let doom = self.doom;
            let (at, end) = doom.unwrap_or_else(|| self.draw());
            self.doom = Some((at, end));
            if read == 0 {
                continue;
            }
            std::thread::sleep(self.random.between(Duration::ZERO, self.shared.unkindness.latency));
            self.shared.network.delays.fetch_add(1, Ordering::Relaxed);
            if at <= Instant::now() {
                return self.end(end, &buffer[..read]);
            }
            self.to.write_all(&buffer[..read])?;
        }
    }

    fn draw(&mut self) -> (Instant, End) {
        let Unkindness { life, silence, .. } = self.shared.unkindness;
        let at = Instant::now() + self.random.between(life.0, life.1);
        let end = match self.random.below(3) {
            0 => End::Reset,
            1 => End::CutOff,
            _ => End::Silence(self.random.between(silence.0, silence.1)),
        };
        (at, end)
    }

    fn end(&mut self, end: End, data: &[u8]) -> std::io::Result<()> {
        let network = &self.shared.network;
        match end {
            End::Reset => network.resets.fetch_add(1, Ordering::Relaxed),
            End::CutOff => {
                network.cuts.fetch_add(1, Ordering::Relaxed);
                return self.to.write_all(&data[..data.len() / 2]);
            }
            End::Silence(silence) => {
                std::thread::sleep(silence);
                network.silences.fetch_add(1, Ordering::Relaxed)
            }
        };
        // A socket that is closed without lingering sends a reset.
        set_socket_linger(&self.from, Some(Duration::ZERO))?;
        set_socket_linger(&self.to, Some(Duration::ZERO))?;
        self.is_reset.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    /// Starts a server that sends everything back, and a proxy in front of it.
    fn proxied() -> Proxy {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let behind = server.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in server.incoming().map_while(Result::ok) {
                std::thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut &stream));
            }
        });
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let advertised = free.local_addr().unwrap().port();
        drop(free);
        let ms = Duration::from_millis;
        let unkindness = Unkindness { latency: ms(2), life: (ms(1), ms(50)), silence: (ms(1), ms(20)) };
        Proxy::start(vec![Listener { advertised, behind }], Random::new(1), unkindness).unwrap()
    }

    /// Sends a message, and returns whether it came back.
    fn answers(stream: &mut TcpStream) -> bool {
        let mut answer = [0; 5];
        stream.write_all(b"hello").is_ok() && stream.read_exact(&mut answer).is_ok() && answer == *b"hello"
    }

    #[test]
    fn a_kind_network_relays_everything() {
        let proxy = proxied();
        let mut stream = TcpStream::connect(proxy.bootstrap()).unwrap();
        assert!((0..100).all(|_| answers(&mut stream)));
        assert_eq!((proxy.network().broken(), proxy.network().delays.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn an_unkind_network_breaks_every_connection_in_each_way() {
        let proxy = proxied();
        proxy.set_unkind(true);
        let mut broken = 0;
        while !proxy.network().has_all() {
            let mut stream = TcpStream::connect(proxy.bootstrap()).unwrap();
            // A message ends the connection at last, whatever its lot is.
            while answers(&mut stream) {}
            broken += 1;
        }
        assert!(proxy.network().broken() >= broken, "{} of {broken}", proxy.network().shown());
        proxy.set_unkind(false);
        assert!(answers(&mut TcpStream::connect(proxy.bootstrap()).unwrap()));
    }
}
