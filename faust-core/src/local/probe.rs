//! Detection of programs that listen on a port of this machine.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Timeout for connecting, reading and writing. All addresses are on loopback, so a longer wait is useless.
const PATIENCE: Duration = Duration::from_millis(500);

/// The kind of program that uses the preferred port of the embedded broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Neighbour {
    /// A program that speaks the Kafka protocol.
    Kafka,
    /// Any other program.
    Other,
}

impl Neighbour {
    /// Returns the notice for the user, who may have intended to use that broker.
    pub(super) fn notice(self, wanted: u16, taken: u16) -> String {
        match self {
            Self::Kafka => format!(
                "port {wanted} is in use by a Kafka broker that is not this app's: the embedded broker uses port {taken}; \
                 set FAUST_BROKER=localhost:{wanted} to use that broker instead"
            ),
            Self::Other => format!("port {wanted} is in use by another program: the embedded broker uses port {taken}"),
        }
    }

    /// Returns the error of a broker that must have this port.
    pub(super) fn refusal(self, wanted: u16) -> String {
        let (user, fix) = match self {
            Self::Kafka => ("a Kafka broker that is not this app's", "stop that broker"),
            Self::Other => ("another program", "stop that program"),
        };
        format!(
            "port {wanted} is in use by {user}: {fix}, choose another port with `--port`, or allow one with `--any-port`"
        )
    }
}

/// Returns `true` if a program listens at this address.
pub(super) fn connects(address: &str) -> bool {
    let Ok(addresses) = address.to_socket_addrs() else { return false };
    addresses.into_iter().any(|address| TcpStream::connect_timeout(&address, PATIENCE).is_ok())
}

/// Returns the kind of program that listens on this loopback port, if there is one.
pub(super) fn neighbour(port: u16) -> Option<Neighbour> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    Some(if speaks_kafka(stream).unwrap_or(false) { Neighbour::Kafka } else { Neighbour::Other })
}

/// Sends an `ApiVersions` request, which every Kafka broker answers, and checks the correlation id of the response.
fn speaks_kafka(mut stream: TcpStream) -> std::io::Result<bool> {
    const NUMBER: [u8; 4] = [0x0f, 0xa0, 0x05, 0x17];
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // Length 10, API key 18 (ApiVersions), version 0; then the correlation id and a null client id.
    let mut request = vec![0, 0, 0, 10, 0, 18, 0, 0];
    request.extend(NUMBER);
    request.extend([0xff, 0xff]);
    stream.write_all(&request)?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer)?;
    Ok(answer[4..] == NUMBER)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use std::net::TcpListener;

    use super::*;

    /// Starts a listener that sends this response to the first request, and returns its port.
    fn listener(answer: &'static [u8]) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 14]).unwrap();
            stream.write_all(answer).unwrap();
        });
        port
    }

    #[test]
    fn a_kafka_broker_is_distinguished_from_other_programs() {
        assert_eq!(neighbour(listener(&[0, 0, 0, 6, 0x0f, 0xa0, 0x05, 0x17, 0, 0])), Some(Neighbour::Kafka));
        assert_eq!(neighbour(listener(b"HTTP/1.1 400 Bad Request")), Some(Neighbour::Other));
        assert_eq!(neighbour(listener(b"")), Some(Neighbour::Other));
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        assert_eq!(neighbour(free), None);
    }
}
