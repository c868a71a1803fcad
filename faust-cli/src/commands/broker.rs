//! `broker`: runs only the embedded broker, so that workers can start and stop independently of it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use faust_core::config::BrokerUrl;
use faust_core::local::{BrokerOptions, Connection};
use faust_core::time::parse_duration;

use crate::context::Context;
use crate::failure::Failure;
use crate::global::pair;
use crate::signals::Signals;

/// Options of `broker`. Its data directory is that of the app.
#[derive(clap::Args, Debug)]
pub(crate) struct BrokerArgs {
    /// Port to listen on; by default the port that this broker had before, or the setting `embedded_port`
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Use another port if the port is in use, instead of failing
    #[arg(long)]
    any_port: bool,
    /// Address to listen on [default: 127.0.0.1; with --expose all addresses]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    host: Option<IpAddr>,
    /// Allow other machines to connect; the broker has no authentication
    #[arg(long)]
    expose: bool,
    /// Address that clients are told to connect to, if it differs, for example because ports are mapped
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    advertise: Option<(String, u16)>,
    /// Number of partitions of topics created without one; by default the setting `topic_partitions`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: Option<i32>,
    /// Do not create topics on first use
    #[arg(long)]
    no_auto_create: bool,
    /// Time for which a new consumer group waits for more members before its first assignment [default: 0s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    rebalance_delay: Option<Duration>,
    /// Set any other broker config by Kafka's name, like log.retention.hours=24
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    broker_config: Vec<(String, String)>,
}

impl BrokerArgs {
    fn options(self) -> BrokerOptions {
        let partitions = self.partitions.map(|partitions| ("num.partitions", partitions.to_string()));
        let auto_create = self.no_auto_create.then(|| ("auto.create.topics.enable", "false".to_owned()));
        let delay =
            self.rebalance_delay.map(|delay| ("group.initial.rebalance.delay.ms", delay.as_millis().to_string()));
        let named = [partitions, auto_create, delay].into_iter().flatten();
        let mut options = BrokerOptions::default();
        options.host = self.host;
        options.port = self.port;
        options.any_port = self.any_port;
        options.expose = self.expose;
        options.advertised = self.advertise;
        options.configs = named.map(|(name, value)| (name.to_owned(), value)).chain(self.broker_config).collect();
        options
    }
}

/// Parses an IP address or `localhost`.
fn address(text: &str) -> Result<IpAddr, String> {
    if text == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    text.parse().map_err(|_| "write it as an IP address, like 127.0.0.1 or 0.0.0.0".to_owned())
}

/// Parses `host:port`; the host may be a name or, in brackets, an IPv6 address.
fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let parsed = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match parsed {
        Some((host, port)) if !host.is_empty() && port != 0 => {
            Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
        }
        _ => Err("write it as host:port, like kafka.example.com:9092".to_owned()),
    }
}

pub(crate) async fn run(args: BrokerArgs, mut context: Context) -> Result<(), Failure> {
    if cfg!(not(feature = "embedded")) {
        return Err(Failure::error("the embedded broker is not compiled in: build with the feature `embedded`"));
    }
    let mut signals = Signals::listen()?;
    let settings = context.resolve()?.settings;
    if let Some(url @ BrokerUrl::Kafka(_)) = &settings.broker {
        return Err(Failure::error(format!(
            "`broker` runs the embedded broker, but the setting `broker` names another broker ({url}): unset it"
        )));
    }
    let connection = Connection::host_with(&settings, args.options()).await?;
    if !connection.is_host() {
        let place = connection.describe();
        return Err(Failure::error(format!("a broker of app `{}` is already running: {place}", settings.id)));
    }
    connection.notices().iter().for_each(|notice| context.out.note(notice));
    // The address is the only data that this command prints: `FAUST_BROKER=$(app broker | head -1)`.
    context.out.text(connection.bootstrap())?;
    signals.next().await;
    context.out.note("the broker is shutting down; its data is kept");
    Ok(connection.close(None, Duration::ZERO).await?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn addresses_are_parsed_or_explained() {
        assert_eq!(address("localhost"), Ok(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(address("::"), Ok("::".parse().unwrap()));
        assert!(address("kafka").unwrap_err().contains("0.0.0.0"));
        assert_eq!(host_and_port("kafka:9092"), Ok(("kafka".to_owned(), 9092)));
        assert_eq!(host_and_port("[::1]:9092"), Ok(("::1".to_owned(), 9092)));
        for wrong in ["kafka", "kafka:", ":9092", "kafka:0", "kafka:70000"] {
            assert!(host_and_port(wrong).unwrap_err().contains("host:port"), "{wrong}");
        }
    }
}
