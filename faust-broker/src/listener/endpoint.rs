//! The address of the broker, as it is and as clients are told.

use std::net::SocketAddr;

/// The socket of the broker, and the address that it advertises.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// The address that the broker listens on.
    listens: SocketAddr,
    /// The host and port from the settings.
    advertised: Option<(String, u16)>,
}

impl Endpoint {
    pub(crate) fn new(listens: SocketAddr, advertised: Option<(String, u16)>) -> Self {
        Self { listens, advertised }
    }

    /// Returns the host and port for a client that has connected to `reached`.
    pub(crate) fn advertised(&self, reached: SocketAddr) -> (String, u16) {
        match &self.advertised {
            Some(advertised) => advertised.clone(),
            // No client could connect to the address that stands for all interfaces.
            None if self.listens.ip().is_unspecified() => (reached.ip().to_canonical().to_string(), reached.port()),
            None => (self.listens.ip().to_string(), self.listens.port()),
        }
    }

    /// Returns the values of the configs `listeners` and `advertised.listeners`.
    pub(crate) fn as_configs(&self) -> [(&'static str, String); 2] {
        let (host, port) = self.advertised(self.listens);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        [
            ("listeners", format!("PLAINTEXT://{}", self.listens)),
            ("advertised.listeners", format!("PLAINTEXT://{host}:{port}")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_an_address_that_they_can_reach() {
        let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let reached = address("10.0.0.5:9092");
        let cases = [
            ("127.0.0.1:9092", None, "127.0.0.1", "PLAINTEXT://127.0.0.1:9092"),
            ("0.0.0.0:9092", None, "10.0.0.5", "PLAINTEXT://0.0.0.0:9092"),
            ("[::]:9092", None, "10.0.0.5", "PLAINTEXT://[::]:9092"),
            ("0.0.0.0:9092", Some(("kafka".to_owned(), 9092)), "kafka", "PLAINTEXT://kafka:9092"),
        ];
        for (listens, advertised, host, config) in cases {
            let endpoint = Endpoint::new(address(listens), advertised);
            assert_eq!(endpoint.advertised(reached), (host.to_owned(), 9092), "{listens}");
            assert_eq!(endpoint.as_configs()[1].1, config, "{listens}");
        }
        // A client with IPv4 reaches a socket of IPv6 at a mapped address.
        let mapped = Endpoint::new(address("[::]:9092"), None).advertised(address("[::ffff:10.0.0.5]:9092"));
        assert_eq!(mapped.0, "10.0.0.5");
    }
}
