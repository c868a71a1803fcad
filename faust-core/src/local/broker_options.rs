//! Options of an embedded broker that is run by a command of its own.

use std::net::IpAddr;

use crate::config::Settings;

/// The options of the command `broker`, beside the settings of the app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerOptions {
    /// The address to listen on; by default `127.0.0.1`, or all addresses with `expose`.
    pub host: Option<IpAddr>,
    /// The port to listen on; by default the one that this broker had before, or the setting `embedded_port`.
    pub port: Option<u16>,
    /// Allows another port if the wanted one is in use.
    pub any_port: bool,
    /// Allows addresses that other machines can reach.
    pub expose: bool,
    /// Host and port that clients are told to connect to, if they differ from those that the broker listens on.
    pub advertised: Option<(String, u16)>,
    /// Broker configs by Kafka's names, with their values.
    pub configs: Vec<(String, String)>,
}

impl BrokerOptions {
    /// Returns true if an occupied port is an error.
    #[cfg_attr(not(feature = "embedded"), allow(dead_code, reason = "only the embedded broker listens"))]
    pub(super) fn is_strict(&self, settings: &Settings) -> bool {
        !self.any_port && self.port.unwrap_or(settings.embedded_port) != 0
    }

    /// Returns the options of a worker's broker, which takes another port if the preferred one is in use.
    pub(super) fn of_worker() -> Self {
        Self { any_port: true, ..Self::default() }
    }
}
