//! How an agent failed, and whether it is tried again (promise P6).

use std::time::Duration;

use tokio::time::Instant;

use super::run::Returned;
use crate::config::Settings;
use crate::error::{Error, TransportError, chain};
use crate::plan::PlannedStage;
use crate::stage::running::RunningStage;

/// A failure of a task, told in terms of the agent.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) agent: String,
    pub(super) place: String,
    /// Input and offset of the event: a later one means the agent got past the last failure.
    at: (u32, i64),
    why: Why,
}

#[derive(Debug)]
enum Why {
    /// Its error, its panic, an operator's fault.
    Agent(String),
    /// It returned though its stream was open.
    Ended,
    /// What it sent did not arrive, and may the next time.
    Undelivered(TransportError),
    /// Trying again cannot help.
    Final(Error),
}

impl Failure {
    pub(super) fn returned(stage: &RunningStage, returned: Returned) -> Self {
        let why = match returned {
            Returned::Result(Ok(())) => Why::Ended,
            Returned::Result(Err(error)) => Why::Agent(chain(&*error)),
            Returned::Panic(text) => Why::Agent(format!("it panicked: {text}")),
        };
        Self::of(stage, why)
    }

    /// An operator or decoding failed.
    pub(super) fn fault(stage: &RunningStage, error: Error) -> Self {
        let why = match error {
            Error::Decode { .. } | Error::Misuse(_) => Why::Final(error),
            Error::Transport(error) if error.is_retriable() => Why::Undelivered(error),
            other => Why::Agent(chain(&other)),
        };
        Self::of(stage, why)
    }

    /// The stages could not be started.
    pub(super) fn start(stages: &[PlannedStage], error: Error) -> Self {
        let why = match error {
            Error::Transport(error) if error.is_retriable() => Why::Undelivered(error),
            other => Why::Agent(chain(&other)),
        };
        Self { agent: agents(stages), place: "its start".to_owned(), at: (0, -1), why }
    }

    /// What the tables hold cannot be written.
    pub(super) fn commit(stages: &[PlannedStage], error: Error) -> Self {
        Self { place: "the commit of its tables".to_owned(), ..Self::start(stages, error) }
    }

    /// What was sent since the last commit did not arrive.
    pub(super) fn undelivered(stages: &[PlannedStage], error: TransportError) -> Self {
        let why = if error.is_retriable() { Why::Undelivered(error) } else { Why::Agent(error.to_string()) };
        Self { agent: agents(stages), place: "what it sent since the last commit".to_owned(), at: (0, -1), why }
    }

    fn of(stage: &RunningStage, why: Why) -> Self {
        Self { agent: stage.agent.to_string(), place: stage.place(), at: stage.cursor.at(), why }
    }

    /// Whether what was finished before counts, though it is not committed.
    pub(super) fn keeps_what_is_done(&self) -> bool {
        matches!(self.why, Why::Ended)
    }

    /// One sentence for the log.
    pub(super) fn what(&self) -> String {
        match &self.why {
            Why::Agent(why) => format!("agent failed: {why}"),
            Why::Ended => ENDED.to_owned(),
            Why::Undelivered(error) => format!("what the agent sent did not arrive: {error}"),
            Why::Final(error) => error.to_string(),
        }
    }
}

const ENDED: &str = "agent ended while its stream is open; let it return only when `next()` gives `None`";

/// The agents of a task.
fn agents(stages: &[PlannedStage]) -> String {
    let mut names: Vec<_> = stages.iter().map(PlannedStage::agent).collect();
    names.dedup();
    names.join("`, `")
}

/// Counts failures at one event.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    agent: String,
    at: (u32, i64),
    count: u32,
    when: Instant,
}

impl Attempts {
    /// How long to wait before the next attempt, or the error that stops the worker.
    pub(super) fn next(&mut self, failure: &Failure, settings: &Settings) -> Result<Duration, Error> {
        let count = self.count(failure, settings);
        self.last = Some(Last { agent: failure.agent.clone(), at: failure.at, count, when: Instant::now() });
        let pause = settings.agent_backoff_min.saturating_mul(1 << (count - 1).min(16)).min(settings.agent_backoff_max);
        match &failure.why {
            // The broker's trouble, not the agent's: it is waited for (promise P7).
            Why::Undelivered(_) => Ok(pause),
            Why::Agent(_) | Why::Ended if count < settings.agent_max_attempts => Ok(pause),
            Why::Agent(_) | Why::Ended => Err(Error::Agent {
                agent: failure.agent.clone(),
                place: failure.place.clone(),
                attempts: count,
                why: failure.what().trim_start_matches("agent failed: ").to_owned(),
            }),
            Why::Final(error) => Err(match error {
                Error::Decode { agent, place, why } => {
                    Error::Decode { agent: agent.clone(), place: place.clone(), why: why.clone() }
                }
                other => Error::Misuse(other.to_string()),
            }),
        }
    }

    fn count(&self, failure: &Failure, settings: &Settings) -> u32 {
        let Some(last) = self.last.as_ref().filter(|last| last.agent == failure.agent) else { return 1 };
        let got_further = match failure.why {
            // One that returns after each event gets further each time, and is wrong all the same.
            Why::Ended => last.when.elapsed() > settings.agent_backoff_max.saturating_mul(2),
            _ => failure.at.0 == last.at.0 && failure.at.1 > last.at.1,
        };
        if got_further { 1 } else { last.count + 1 }
    }
}
