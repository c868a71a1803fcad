//! The failure of a command, and the exit code for it.

use std::io;

use faust_core::error::Error;
use faust_core::transport::TransportError;

/// The reason why a command has ended without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error to report.
    Error(String),
    /// The reader of the output has closed it, as `head` does. This is not an error.
    BrokenPipe,
    /// The user has forced the process to exit with a second signal.
    Forced,
}

impl Failure {
    /// Creates an error with this text.
    pub(crate) fn error(text: impl ToString) -> Self {
        Self::Error(text.to_string())
    }

    /// Creates one error from several faults.
    pub(crate) fn faults(faults: &[String]) -> Self {
        match faults {
            [one] => Self::error(one),
            many => {
                Self::Error(many.iter().fold(format!("{} faults:", many.len()), |text, fault| text + "\n  - " + fault))
            }
        }
    }

    /// Returns the exit code of the process.
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
