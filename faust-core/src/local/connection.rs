//! The way to the broker of an app: the Kafka that is set, or the embedded broker, found or started.

use std::time::Duration;

use super::broker_options::BrokerOptions;
#[cfg(feature = "embedded")]
use super::embedded::Embedded;
use super::host_kind::HostKind;
#[cfg(not(feature = "embedded"))]
use super::no_embedded::NoEmbedded as Embedded;
use super::worker_dir::WorkerDir;
use crate::config::{BrokerUrl, Settings};
use crate::error::{Error, TransportError};

/// A connection to a broker, including the broker itself if this process hosts it.
#[derive(Debug)]
pub struct Connection {
    pub(super) bootstrap: String,
    /// The embedded broker; `None` if the broker is configured, an external Kafka cluster.
    pub(super) embedded: Option<Embedded>,
}

impl Connection {
    /// Finds the broker of this app, or starts the embedded broker if none is running. Used by the command `worker`.
    ///
    /// # Errors
    /// Fails if the embedded broker cannot start, or if another process holds its directory but does not respond.
    /// Without the feature `embedded`, fails if no broker is configured.
    pub async fn host(settings: &Settings, kind: HostKind) -> Result<Self, Error> {
        Self::open(settings, move |settings| Embedded::host(settings, kind, &BrokerOptions::of_worker())).await
    }

    /// Like [`host`](Self::host), with the options of the command `broker`.
    ///
    /// # Errors
    /// As for [`host`](Self::host); also if the port is in use and `any_port` is not set, if a broker config is unknown or
    /// invalid, or if other machines could reach the address and `expose` is not set.
    pub async fn host_with(settings: &Settings, options: BrokerOptions) -> Result<Self, Error> {
        Self::open(settings, move |settings| Embedded::host(settings, HostKind::Broker, &options)).await
    }

    /// Finds the broker of this app without starting one. Used by the other commands.
    ///
    /// # Errors
    /// Fails if no broker is configured and none is running.
    pub async fn find(settings: &Settings) -> Result<Self, Error> {
        Self::open(settings, Embedded::find).await
    }

    async fn open(
        settings: &Settings,
        embedded: impl FnOnce(&Settings) -> Result<Embedded, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        if let Some(BrokerUrl::Kafka(brokers)) = &settings.broker {
            return Ok(Self { bootstrap: brokers.join(","), embedded: None });
        }
        let settings = settings.clone();
        // File access, locking and starting a server all block.
        let opened = tokio::task::spawn_blocking(move || embedded(&settings)).await;
        let embedded = opened.map_err(|error| TransportError::fatal("search for the broker", error))??;
        Ok(Self { bootstrap: embedded.bootstrap().to_owned(), embedded: Some(embedded) })
    }

    /// Returns the bootstrap servers: `host:port`, separated by commas.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Returns `true` if the embedded broker runs in this process.
    pub fn is_host(&self) -> bool {
        self.embedded.as_ref().is_some_and(Embedded::is_host)
    }

    /// Returns `true` if the broker is the embedded one, in this or another process on this machine.
    pub fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// Returns the notices to print at start-up, one line each.
    pub fn notices(&self) -> &[String] {
        self.embedded.as_ref().map_or(&[], Embedded::notices)
    }

    /// Describes the broker for the start-up table: its address and its host.
    pub fn describe(&self) -> String {
        let host = self.embedded.as_ref().map(|embedded| format!(" ({})", embedded.describe()));
        format!("kafka://{}{}", self.bootstrap, host.unwrap_or_default())
    }

    /// Waits until the worker that hosts the broker shuts down or the broker has moved, and returns the reason. Never
    /// resolves if no other process hosts the broker.
    pub async fn gone(&self) -> String {
        match &self.embedded {
            Some(embedded) => embedded.gone().await,
            None => std::future::pending().await,
        }
    }

    /// Announces to the guests that the broker hosted here is about to stop, so that they can finish while it is still
    /// running.
    pub fn announce_end(&self) {
        if let Some(embedded) = &self.embedded {
            embedded.announce_end();
        }
    }

    /// Stops a broker hosted here: notifies the other workers, waits up to `within` for them to exit, and stops the
    /// broker. Does nothing if the broker is not hosted here. `own` is the directory of this worker, which is not
    /// waited for.
    ///
    /// # Errors
    /// Fails if the broker cannot write its remaining data.
    pub async fn close(self, own: Option<&WorkerDir>, within: Duration) -> Result<(), Error> {
        match self.embedded {
            Some(embedded) => embedded.close(own, within).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;
    use crate::config::Layers;

    fn settings(datadir: &std::path::Path, broker: &str) -> Settings {
        let mut layers = Layers::default();
        layers.builder("datadir", datadir.display()).builder("broker", broker);
        layers.resolve("orders").unwrap().settings
    }

    #[tokio::test]
    async fn a_configured_broker_is_used_unchanged() {
        let datadir = tempfile::tempdir().unwrap();
        let settings = settings(&datadir.path().join("untouched"), "a:1,b:2");
        for connection in
            [Connection::find(&settings).await.unwrap(), Connection::host(&settings, HostKind::Worker).await.unwrap()]
        {
            assert_eq!((connection.bootstrap(), connection.is_host()), ("a:1,b:2", false));
            assert_eq!(connection.describe(), "kafka://a:1,b:2");
        }
        assert!(!settings.datadir.exists());
    }

    #[cfg(not(feature = "embedded"))]
    #[tokio::test]
    async fn without_the_embedded_broker_a_missing_broker_is_an_error_that_says_what_to_set() {
        let datadir = tempfile::tempdir().unwrap();
        let settings = settings(&datadir.path().join("untouched"), "");
        for failed in [Connection::find(&settings).await, Connection::host(&settings, HostKind::Worker).await] {
            assert_eq!(
                failed.unwrap_err().to_string(),
                "app `orders` has no broker: set `broker` (FAUST_BROKER=host:port) to a Kafka cluster, or build with \
                 the feature `embedded` to run one on this machine"
            );
        }
        assert!(!settings.datadir.exists());
    }
}
