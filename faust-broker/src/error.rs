//! Errors of starting and stopping a broker.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::core::advice::advice;

use crate::core::Refusal;

/// An error of starting or stopping a [`Broker`](crate::Broker). Errors of requests are reported to the client instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another broker uses the directory.
    #[error(
        "the broker directory {directory:?} is in use by {holder}; connect to that broker, stop it, or choose another directory"
    )]
    DirectoryInUse {
        /// The directory.
        directory: PathBuf,
        /// Process id and address of the broker that uses the directory, or "another broker" if they are unknown.
        holder: String,
    },
    /// A config of the broker has an unknown name or an invalid value.
    #[error("{reason}")]
    Config {
        /// The name of the config.
        name: String,
        /// The description of the error, with the name and the allowed values.
        reason: String,
    },
    /// The port is in use, or the system rejects it.
    #[error("cannot listen on {host}:{port}; {}", listen_advice(source))]
    Listen {
        /// The address.
        host: IpAddr,
        /// The port.
        port: u16,
        /// The system error.
        source: io::Error,
    },
    /// The address is not a loopback address, and [`BrokerConfig::expose`](crate::BrokerConfig::expose) is not set. The
    /// broker has no authentication, so it must not be reachable from outside by mistake.
    #[error(
        "refusing to listen on {host}, which other machines may reach: the broker has no authentication; use 127.0.0.1, or allow it with `expose`"
    )]
    NotLoopback {
        /// The address.
        host: IpAddr,
    },
    /// The directory cannot be read or written. The source names the file.
    #[error("cannot use the broker directory {directory:?}: {source}; {}", advice(source))]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// The system error.
        source: io::Error,
    },
    /// The journal contains an intact line that this version does not understand.
    #[error(
        "line {line} of the journal {path:?} is from a later version of the broker; start that version, or choose another directory"
    )]
    Journal {
        /// The journal file.
        path: PathBuf,
        /// Number of the line, counted from 1.
        line: usize,
        /// The parse error.
        source: serde_json::Error,
    },
    /// The broker has stopped, but could not sync its files. Acknowledged writes survive the end of the process, but perhaps
    /// not a power failure.
    #[error("the broker has stopped, but could not sync its files: {source}; {}", advice(source))]
    Unsynced {
        /// The system error.
        source: io::Error,
    },
    /// The system could not create the broker's thread or event loop.
    #[error("cannot start the broker's thread; check the limits of this process")]
    Thread {
        /// The system error.
        source: io::Error,
    },
    /// A topic cannot be created.
    #[error("cannot create topic `{topic}`: {source}")]
    Topic {
        /// The name of the topic.
        topic: String,
        /// The reason, with the fix.
        source: Refusal,
    },
    /// The broker's thread panicked.
    #[error("the broker's thread panicked; see the panic message above")]
    Panicked,
}

impl Error {
    /// Adds the broker's directory to a system error.
    pub(crate) fn directory(directory: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |source| Self::Directory { directory: directory.to_owned(), source }
    }
}

fn listen_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => "choose an address of this machine",
        io::ErrorKind::PermissionDenied => "choose a port from 1024 on, or give this user the right to it",
        _ => "choose another port",
    }
}
