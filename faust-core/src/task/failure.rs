//! Failures of agents, and the decision whether to retry (promise P6).

use std::time::Duration;

use tokio::time::Instant;

use super::run::Returned;
use crate::config::Settings;
use crate::error::{BoxError, Error, TransportError, chain};
use crate::offsets::Position;
use crate::plan::PlannedStage;
use crate::stage::running::RunningStage;

/// A failure of a group, described in terms of the agent.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) agent: String,
    pub(super) place: String,
    /// Input and offset of the event. A later event means that the agent made progress since the last failure.
    at: Option<Position>,
    /// The same event, with the index of its stage, if it has to be sealed off before the next attempt.
    pub(super) event: Option<(usize, Position)>,
    why: Why,
}

#[derive(Debug)]
enum Why {
    /// The agent returned an error or panicked, or an operator failed.
    Agent(BoxError),
    /// The agent returned while its stream was open.
    Ended,
    /// A message was not delivered, and a retry may succeed.
    Undelivered(TransportError),
    /// A retry cannot succeed.
    Final(Error),
}

impl Failure {
    pub(super) fn returned((index, stage): (usize, &RunningStage), returned: Returned) -> Self {
        let why = match returned {
            Returned::Result(Ok(())) => Why::Ended,
            Returned::Result(Err(error)) => Why::Agent(error),
            Returned::Panic(text) => Why::Agent(format!("it panicked: {text}").into()),
        };
        Self::of((index, stage), why)
    }

    /// Creates the failure of an operator or of decoding.
    pub(super) fn fault((index, stage): (usize, &RunningStage), error: Error) -> Self {
        let why = match error {
            Error::Decode { .. } | Error::Misuse(_) => Why::Final(error),
            Error::Transport(error) if error.is_retriable() => Why::Undelivered(error),
            other => Why::Agent(other.into()),
        };
        Self::of((index, stage), why)
    }

    /// Creates the failure to start the stages of a group.
    pub(super) fn start(stages: &[PlannedStage], error: Error) -> Self {
        let why = match error {
            Error::Transport(error) if error.is_retriable() => Why::Undelivered(error),
            other => Why::Agent(other.into()),
        };
        Self { agent: agents(stages), place: "its start".to_owned(), at: None, event: None, why }
    }

    /// Creates the failure to encode the tables' changes for a commit.
    pub(super) fn commit(stages: &[PlannedStage], error: Error) -> Self {
        Self { place: "the commit of its tables".to_owned(), ..Self::start(stages, error) }
    }

    /// Creates the failure to deliver a message sent since the last commit.
    pub(super) fn undelivered(stages: &[PlannedStage], error: TransportError) -> Self {
        let why = if error.is_retriable() { Why::Undelivered(error) } else { Why::Agent(error.into()) };
        Self {
            agent: agents(stages),
            place: "its messages since the last commit".to_owned(),
            at: None,
            event: None,
            why,
        }
    }

    fn of((index, stage): (usize, &RunningStage), why: Why) -> Self {
        let at = stage.cursor.progress.at();
        // Outside of an event, the event begun last is finished.
        let event = at.filter(|_| stage.cursor.gate.is_busy()).map(|at| (index, at));
        Self { agent: stage.agent.to_string(), place: stage.place(), at, event, why }
    }

    /// Describes the failure in one sentence for the log.
    pub(super) fn what(&self) -> String {
        match &self.why {
            Why::Agent(error) => format!("agent failed: {}", chain(&**error)),
            Why::Ended => ENDED.to_owned(),
            Why::Undelivered(error) => format!("a message of the agent was not delivered: {error}"),
            Why::Final(error) => error.to_string(),
        }
    }
}

const ENDED: &str = "agent ended while its stream is open; let it return only after `next()` has returned `None`";

/// Joins the names of a group's agents.
fn agents(stages: &[PlannedStage]) -> String {
    let mut names: Vec<_> = stages.iter().map(PlannedStage::agent).collect();
    names.dedup();
    names.join("`, `")
}

/// Counter of failures at one event.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    agent: String,
    at: Option<Position>,
    count: u32,
    when: Instant,
}

impl Attempts {
    /// Counts the failure. Returns the pause before the next attempt, or `None` if there is none: the worker stops.
    pub(super) fn next(&mut self, failure: &Failure, settings: &Settings) -> Option<Duration> {
        let count = self.count(failure, settings);
        self.last = Some(Last { agent: failure.agent.clone(), at: failure.at, count, when: Instant::now() });
        let pause = settings.agent_backoff_min.saturating_mul(1 << (count - 1).min(16)).min(settings.agent_backoff_max);
        let is_retried = match &failure.why {
            // The fault is the broker's, not the agent's: it is retried without a limit (promise P7).
            Why::Undelivered(_) => true,
            Why::Agent(_) | Why::Ended => count < settings.agent_max_attempts,
            Why::Final(_) => false,
        };
        is_retried.then_some(pause)
    }

    /// Returns the error that stops the worker after this failure.
    pub(super) fn error(&self, failure: Failure) -> Error {
        let Failure { agent, place, why, .. } = failure;
        let attempts = self.last.as_ref().map_or(1, |last| last.count);
        match why {
            Why::Agent(source) => Error::Agent { agent, place, attempts, source },
            Why::Ended => Error::Agent { agent, place, attempts, source: ENDED.into() },
            Why::Undelivered(error) => error.into(),
            Why::Final(error) => error,
        }
    }

    fn count(&self, failure: &Failure, settings: &Settings) -> u32 {
        let Some(last) = self.last.as_ref().filter(|last| last.agent == failure.agent) else { return 1 };
        let got_further = match failure.why {
            // An agent that returns after each event makes progress each time, but is still wrong.
            Why::Ended => last.when.elapsed() > settings.agent_backoff_max.saturating_mul(2),
            _ => match (failure.at, last.at) {
                (Some(now), Some(before)) => now.input == before.input && now.offset > before.offset,
                (now, None) => now.is_some(),
                (None, Some(_)) => false,
            },
        };
        if got_further { 1 } else { last.count + 1 }
    }
}
