//! What can go wrong, sorted by what the reader can do about it.

use std::fmt;

/// Any error, as agents return it with `?`.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The result of agents and of everything else a user of the framework writes.
pub type Result<T = (), E = BoxError> = std::result::Result<T, E>;

/// An error of the framework itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The app cannot be built or planned: all its faults together, each with its fix.
    #[error("{0}")]
    Setup(SetupErrors),
    /// A broker refused something, or cannot be reached.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A value could not be encoded for a topic.
    #[error("cannot encode the {part} for topic `{topic}`: {why}")]
    Encode {
        /// Where it was to go.
        topic: String,
        /// Key or value.
        part: &'static str,
        /// The codec's own words.
        why: String,
    },
    /// A message could not be decoded and the policy says to stop.
    #[error(
        "agent `{agent}` cannot read {place}: {why}; mend the producer, or set `on_decode_error` to `dead_letter` or `skip`"
    )]
    Decode {
        /// The agent whose stream it was.
        agent: String,
        /// Topic, partition and offset.
        place: String,
        /// What was wrong, with the path to the field.
        why: String,
    },
    /// An agent failed as often as `agent_max_attempts` allows.
    #[error("agent `{agent}` failed {attempts} times at {place}: {why}; nothing of that event is committed")]
    Agent {
        /// The agent.
        agent: String,
        /// Topic, partition and offset of the event it was in.
        place: String,
        /// How often it was tried.
        attempts: u32,
        /// The last failure, with its chain of causes.
        why: String,
    },
    /// The state of a table is not what it must be: nothing is guessed, the worker stops.
    #[error("table `{table}`, partition {partition}: {why}")]
    State {
        /// The table.
        table: String,
        /// Its partition.
        partition: i32,
        /// What is wrong and how to mend it.
        why: String,
    },
    /// A function of `#[window_close]` or `#[window_late]` failed.
    #[error("the hook `{hook}` of table `{table}` failed: {why}")]
    Hook {
        /// The windowed table.
        table: String,
        /// The function, and what it was called for.
        hook: String,
        /// Its error, with its chain of causes.
        why: String,
    },
    /// Something was done at a time when it cannot be done.
    #[error("{0}")]
    Misuse(String),
    /// The worker could not finish in time what it was asked to end.
    #[error(
        "the worker was not done within the shutdown timeout of {0:?} and was ended: unfinished events will be read again"
    )]
    ShutdownTimeout(std::time::Duration),
    /// The worker that hosted the embedded broker has gone.
    #[error("{0}")]
    BrokerGone(String),
}

impl Error {
    /// Setup errors from a list; at least one.
    pub(crate) fn setup(faults: Vec<String>) -> Self {
        Self::Setup(SetupErrors(faults))
    }
}

/// Every fault found while an app was built or planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupErrors(Vec<String>);

impl SetupErrors {
    /// One sentence each, with the fix.
    pub fn faults(&self) -> &[String] {
        &self.0
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

/// An error and its causes on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Many libraries repeat the cause in their own text.
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// What a broker or the way to it refused.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct TransportError {
    /// The attempt, such as ``commit of group `app` ``.
    pub what: String,
    /// The reason as the broker or the client gave it.
    pub why: String,
    /// What the engine can do about it.
    pub kind: TransportErrorKind,
}

/// What can be done about a [`TransportError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportErrorKind {
    /// The broker is away or busy: the same attempt may succeed later.
    Retriable,
    /// The group has moved on: the partitions are no longer ours, the work is another member's.
    Rebalanced,
    /// The start offset no longer exists in the log.
    OffsetOutOfRange,
    /// It will not succeed however often it is tried.
    Fatal,
}

impl TransportError {
    /// A fault that later attempts may not meet.
    pub fn retriable(what: impl Into<String>, why: impl ToString) -> Self {
        Self { what: what.into(), why: why.to_string(), kind: TransportErrorKind::Retriable }
    }

    /// A fault that stays.
    pub fn fatal(what: impl Into<String>, why: impl ToString) -> Self {
        Self { what: what.into(), why: why.to_string(), kind: TransportErrorKind::Fatal }
    }

    /// Whether waiting may help.
    pub fn is_retriable(&self) -> bool {
        self.kind == TransportErrorKind::Retriable
    }
}
