//! How a command fails, and what the process's exit code says of it.

use std::io;

use faust_core::error::Error;
use faust_core::transport::TransportError;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something to tell.
    Error(String),
    /// The reader of the output has gone, as `head` does; nothing to tell.
    BrokenPipe,
    /// The user did not want to wait for the end.
    Forced,
}

impl Failure {
    pub(crate) fn error(text: impl ToString) -> Self {
        Self::Error(text.to_string())
    }

    /// Several faults as one text.
    pub(crate) fn faults(faults: &[String]) -> Self {
        match faults {
            [one] => Self::error(one),
            many => {
                Self::Error(many.iter().fold(format!("{} faults:", many.len()), |text, fault| text + "\n  - " + fault))
            }
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Error(_) => 1,
            Self::BrokenPipe => 0,
            Self::Forced => 130,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::error(error)
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        Self::error(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::error(error),
        }
    }
}
