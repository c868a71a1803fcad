//! Errors of the framework, grouped by the action they call for.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// Any error, as returned by agents with `?`.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The result of agents and of other functions written by users of the framework.
pub type Result<T = (), E = BoxError> = std::result::Result<T, E>;

/// An error of the framework itself.
///
/// `Debug` shows the same text as `Display`, with the causes, so that `fn main() -> faust::Result<()>` reads well.
///
/// ```
/// use std::time::Duration;
/// use faust::{Error, WindowSpec};
///
/// let error = WindowSpec::tumbling(Duration::ZERO).unwrap_err();
/// assert!(matches!(error, Error::InvalidWindow(_)));
/// assert_eq!(format!("{error:?}"), error.to_string());
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The app cannot be built or planned. The error lists all faults, each with its fix.
    #[error("{0}")]
    Setup(SetupErrors),
    /// A broker rejected a request or cannot be reached.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A value could not be encoded for a topic.
    #[error("cannot encode the {part} for topic `{topic}`: {source}")]
    Encode {
        /// Destination topic of the value.
        topic: String,
        /// The part of the message: key, value or timestamp.
        part: &'static str,
        /// Error of the codec.
        source: BoxError,
    },
    /// A table refused a key or a value, because it could not be read back from the table's store.
    #[error(
        "table `{table}` refuses {what}: {why}; store a value that the table's codec can read back, or change its type"
    )]
    Refused {
        /// Name of the table.
        table: String,
        /// The key, or the key of the value.
        what: String,
        /// Error of the codec.
        why: String,
    },
    /// A value of a table is too large for a record of its changelog.
    #[error(
        "table `{table}`: {what} takes {size} bytes in its changelog, whose records have at most {max}; spread it over several keys, or raise `producer_max_request_size` and the changelog's `max.message.bytes`"
    )]
    TooLarge {
        /// Name of the table.
        table: String,
        /// The key of the value.
        what: String,
        /// Size of the record in bytes.
        size: u64,
        /// Maximum size in bytes.
        max: u64,
    },
    /// A message could not be decoded and the policy is to stop.
    #[error(
        "agent `{agent}` cannot read {place}: {why}; fix the producer, or set `on_decode_error` to `dead_letter` or `skip`"
    )]
    Decode {
        /// Agent whose stream received the message.
        agent: String,
        /// Topic, partition and offset of the message.
        place: String,
        /// Decoding error, with the path to the field.
        why: String,
    },
    /// An agent failed `agent_max_attempts` times, or for `agent_max_time`, and its policy is to stop.
    #[error(
        "agent `{agent}` failed {attempts} times at {place}: {}; no effects of that event are committed{}",
        chain(&**source),
        skip.iter().map(|command| format!("; to skip it, run `{command}`")).collect::<String>()
    )]
    Agent {
        /// Name of the agent.
        agent: String,
        /// Topic, partition and offset of the event that was being processed.
        place: String,
        /// Number of attempts.
        attempts: u32,
        /// The last failure.
        source: BoxError,
        /// The command that skips the event, if it is known.
        skip: Option<String>,
    },
    /// The state of a table is inconsistent. The worker stops instead of guessing the correct state.
    #[error("table `{table}`, partition {partition}: {why}")]
    State {
        /// Name of the table.
        table: String,
        /// Partition of the table.
        partition: i32,
        /// Description of the fault and its fix.
        why: String,
    },
    /// A function of `#[window_close]` or `#[window_late]` failed.
    #[error("the hook `{hook}` of table `{table}` failed: {}", chain(&**source))]
    Hook {
        /// Name of the windowed table.
        table: String,
        /// Kind of the hook, and the window it was called for.
        hook: String,
        /// Error of the function.
        source: BoxError,
    },
    /// A file or directory cannot be used.
    #[error("cannot use `{}`: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The app's state on this machine cannot be used: another process holds it, or a store is damaged.
    #[error("{0}")]
    LocalState(String),
    /// User code panicked outside an agent's loop.
    #[error("{place} panicked: {message}")]
    Panicked {
        /// The code that panicked.
        place: String,
        /// Message of the panic.
        message: String,
    },
    /// A table is unknown, or has other types or windows than those asked for.
    #[error("{0}")]
    UnknownTable(String),
    /// The windows of a table are invalid.
    #[error("{0}")]
    InvalidWindow(String),
    /// An operation was invalid in the current state.
    #[error("{0}")]
    Misuse(String),
    /// The worker could not finish its current events within the shutdown timeout.
    #[error(
        "the worker did not finish within the shutdown timeout of {0:?} and was stopped: unfinished events will be read again"
    )]
    ShutdownTimeout(std::time::Duration),
    /// The worker that hosted the embedded broker has shut down.
    #[error("{0}")]
    BrokerGone(String),
}

impl Error {
    /// Creates a setup error from a list of at least one fault.
    pub(crate) fn setup(faults: Vec<String>) -> Self {
        Self::Setup(SetupErrors(faults))
    }

    /// Returns whether a position is not in its log.
    pub(crate) fn is_out_of_range(&self) -> bool {
        matches!(self, Self::Transport(error) if error.kind == TransportErrorKind::OffsetOutOfRange)
    }

    /// Creates the error of a file or directory.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// Creates the error of a value that a codec rejects.
    pub(crate) fn encode(topic: impl Into<String>, part: &'static str, source: impl Into<BoxError>) -> Self {
        Self::Encode { topic: topic.into(), part, source: source.into() }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&chain(self))
    }
}

/// Every fault found while an app was built or planned.
#[derive(Clone, PartialEq, Eq)]
pub struct SetupErrors(Vec<String>);

impl std::error::Error for SetupErrors {}

/// Shows the same text as `Display`: a `main` that returns the error prints its `Debug`.
impl fmt::Debug for SetupErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl SetupErrors {
    /// Returns the faults, each as one sentence that includes the fix.
    pub fn faults(&self) -> &[String] {
        &self.0
    }
}

impl From<Vec<String>> for SetupErrors {
    fn from(faults: Vec<String>) -> Self {
        Self(faults)
    }
}

impl fmt::Display for SetupErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => f.write_str(one),
            many => {
                write!(f, "{} faults:", many.len())?;
                many.iter().try_for_each(|fault| write!(f, "\n  - {fault}"))
            }
        }
    }
}

/// Formats an error and its causes on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Many libraries include the cause in their own text.
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Extracts the message of a panic payload.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

/// A failed request to a broker, or a failed connection.
///
/// ```
/// use faust::transport::TransportError;
///
/// let error = TransportError::retriable("lookup of topics", "no broker answers");
/// assert_eq!(format!("{error:?}"), "lookup of topics: no broker answers");
/// ```
#[derive(Clone, thiserror::Error)]
#[error("{what}: {why}")]
#[non_exhaustive]
pub struct TransportError {
    /// The attempt, such as ``commit of group `app` ``.
    pub what: String,
    /// The reason, as reported by the broker or the client.
    pub why: String,
    /// The class of the error, by the action it calls for.
    pub kind: TransportErrorKind,
}

/// The class of a [`TransportError`], by the action it calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// The broker is unavailable or busy: the same attempt may succeed later.
    Retriable,
    /// The partitions have been assigned to another member of the group.
    Rebalanced,
    /// The start offset no longer exists in the log.
    OffsetOutOfRange,
    /// Every further attempt will fail.
    Fatal,
}

/// Shows the same text as `Display`: a `main` that returns the error prints its `Debug`.
impl fmt::Debug for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TransportError {
    /// Creates an error that later attempts may not meet.
    pub fn retriable(what: impl Into<String>, why: impl ToString) -> Self {
        Self { what: what.into(), why: why.to_string(), kind: TransportErrorKind::Retriable }
    }

    /// Creates an error that every further attempt will meet.
    pub fn fatal(what: impl Into<String>, why: impl ToString) -> Self {
        Self { what: what.into(), why: why.to_string(), kind: TransportErrorKind::Fatal }
    }

    /// Returns `true` if a later attempt may succeed.
    pub fn is_retriable(&self) -> bool {
        self.kind == TransportErrorKind::Retriable
    }
}
