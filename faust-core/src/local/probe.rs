//! Who listens on a port of this machine.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Everything here is on loopback: who does not answer in this time does not answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// Who has the port that the embedded broker would have liked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Neighbour {
    /// Something that speaks Kafka's protocol.
    Kafka,
    /// Something else.
    Other,
}

impl Neighbour {
    /// What to tell the user, who may have meant that one.
    pub(super) fn notice(self, wanted: u16, taken: u16) -> String {
        match self {
            Self::Kafka => format!(
                "port {wanted} answers as a Kafka, which is not this app's: the embedded broker took port {taken}; \
                 set FAUST_BROKER=localhost:{wanted} to use that Kafka instead"
            ),
            Self::Other => format!("port {wanted} belongs to another program: the embedded broker took port {taken}"),
        }
    }
}

/// Whether something listens at this address.
pub(super) fn connects(address: &str) -> bool {
    let Ok(addresses) = address.to_socket_addrs() else { return false };
    addresses.into_iter().any(|address| TcpStream::connect_timeout(&address, PATIENCE).is_ok())
}

/// Who listens on this port of loopback, if anybody does.
pub(super) fn neighbour(port: u16) -> Option<Neighbour> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    Some(if speaks_kafka(stream).unwrap_or(false) { Neighbour::Kafka } else { Neighbour::Other })
}

/// Asks for the versions of the protocol, which every Kafka answers, and looks for the request's own number.
fn speaks_kafka(mut stream: TcpStream) -> std::io::Result<bool> {
    const NUMBER: [u8; 4] = [0x0f, 0xa0, 0x05, 0x17];
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // Length 10, api 18 (ApiVersions), version 0, the number, no client id.
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

    /// A listener that gives this answer to whoever asks.
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
    fn a_kafka_is_told_from_other_programs() {
        assert_eq!(neighbour(listener(&[0, 0, 0, 6, 0x0f, 0xa0, 0x05, 0x17, 0, 0])), Some(Neighbour::Kafka));
        assert_eq!(neighbour(listener(b"HTTP/1.1 400 Bad Request")), Some(Neighbour::Other));
        assert_eq!(neighbour(listener(b"")), Some(Neighbour::Other));
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        assert_eq!(neighbour(free), None);
    }
}
