//! Why a broker could not be started or stopped.

use std::{io, net::IpAddr, path::PathBuf};

/// What goes wrong around a broker, rather than inside of it.
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
        /// Process id and address of the broker that has it, as far as it has told.
        holder: String,
    },
    /// The port is taken, or the system refuses it.
    #[error("cannot listen on {host}:{port}; choose another port")]
    Listen {
        /// The address.
        host: IpAddr,
        /// The port.
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// Others could reach the address, and this broker asks nobody for a password.
    #[error(
        "refusing to listen on {host}: the embedded broker serves this machine only, use 127.0.0.1; for a network use Apache Kafka"
    )]
    NotLoopback {
        /// The address.
        host: IpAddr,
    },
    /// The directory cannot be read or written.
    #[error("cannot use the broker directory {directory:?}; check its permissions and the space left")]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The directory holds something that this version does not understand.
    #[error(
        "the journal {path:?} is damaged at line {line}; restore it from a copy, or delete the directory to start empty"
    )]
    Journal {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What does not parse.
        source: serde_json::Error,
    },
    /// The system gave the broker no thread or no event loop.
    #[error("cannot start the broker's thread; check the limits of this process")]
    Thread {
        /// What the system says.
        source: io::Error,
    },
    /// The broker's thread died.
    #[error("the broker's thread panicked; the message above says where")]
    Panicked,
}
