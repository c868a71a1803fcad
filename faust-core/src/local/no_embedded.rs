//! The embedded broker of a build without the feature `embedded`: it is never found, and never started.

use std::time::Duration;

use super::broker_options::BrokerOptions;
use super::host_kind::HostKind;
use super::worker_dir::WorkerDir;
use crate::config::Settings;
use crate::error::Error;

/// A type without values, with the methods of the embedded broker.
#[derive(Debug)]
pub(super) enum NoEmbedded {}

impl NoEmbedded {
    pub(super) fn host(settings: &Settings, _: HostKind, _: &BrokerOptions) -> Result<Self, Error> {
        Self::find(settings)
    }

    /// Returns the error that no broker is configured.
    pub(super) fn find(settings: &Settings) -> Result<Self, Error> {
        Err(Error::setup(vec![format!(
            "app `{}` has no broker: set `broker` (FAUST_BROKER=host:port) to a Kafka cluster, or build with the \
             feature `embedded` to run one on this machine",
            settings.id
        )]))
    }

    pub(super) fn bootstrap(&self) -> &str {
        match *self {}
    }

    pub(super) fn is_host(&self) -> bool {
        match *self {}
    }

    pub(super) fn notices(&self) -> &[String] {
        match *self {}
    }

    pub(super) fn describe(&self) -> String {
        match *self {}
    }

    pub(super) async fn gone(&self) -> String {
        match *self {}
    }

    pub(super) fn announce_end(&self) {
        match *self {}
    }

    pub(super) async fn close(self, _: Option<&WorkerDir>, _: Duration) -> Result<(), Error> {
        match self {}
    }
}
