//! Failures of agents and of their groups, described for the log, the status and the error that ends a worker.

use super::cut::Undelivered;
use crate::error::{BoxError, Error, TransportError, chain};
use crate::offsets::Position;
use crate::plan::PlannedStage;
use crate::stage::gate::StageFault;
use crate::stage::input::GroupInput;
use crate::stage::running::RunningStage;
use crate::transport::TopicPartition;

/// The result of a stage's function.
pub(crate) enum Returned {
    /// It returned.
    Result(Result<(), BoxError>),
    /// It panicked with this message.
    Panic(String),
}

/// A failure of a group, described in terms of the agent.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) agent: String,
    pub(super) place: String,
    /// Index of the stage that failed; `None` if the failure concerns all of the group.
    pub(super) stage: Option<usize>,
    /// The unfinished events of the stage, one of which has caused the failure: usually one.
    pub(super) events: Vec<Position>,
    /// The command that skips the event, if the event is known.
    pub(super) skip: Option<String>,
    /// The event begun last. A later one means that the agent made progress since the last failure.
    pub(super) at: Option<Position>,
    pub(super) why: Why,
}

/// The reason of a failure.
#[derive(Debug)]
pub(super) enum Why {
    /// The agent returned an error or panicked, or an operator failed.
    Agent(BoxError),
    /// A function of `#[window_close]` or `#[window_late]` failed: the events that follow would call it again.
    Hook(BoxError),
    /// The agent returned while its stream was open.
    Ended,
    /// The tables' changes cannot be encoded, and the next run will find the event that is the cause.
    Unsealed(Error),
    /// A message was not delivered, and a retry may succeed.
    Undelivered(TransportError),
    /// The broker refuses a message permanently.
    Refused(TransportError),
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
    pub(super) fn fault((index, stage): (usize, &RunningStage), fault: StageFault) -> Self {
        let StageFault { error, events } = fault;
        let why = match error {
            Error::Decode { .. } | Error::Misuse(_) => Why::Final(error),
            Error::Hook { .. } => Why::Hook(error.into()),
            Error::Transport(error) if error.is_retriable() => Why::Undelivered(error),
            other => Why::Agent(other.into()),
        };
        Self::of_events((index, stage), events, why)
    }

    /// Creates the failure to start the stages of a group.
    pub(super) fn start(stages: &[PlannedStage], error: Error) -> Self {
        let why = match error {
            Error::Transport(error) if error.is_retriable() => Why::Undelivered(error),
            other => Why::Agent(other.into()),
        };
        Self { place: "its start".to_owned(), ..Self::of_group(stages, why) }
    }

    fn of_group(stages: &[PlannedStage], why: Why) -> Self {
        let (agent, place, events) = (agents(stages), String::new(), Vec::new());
        Self { agent, place, stage: None, events, skip: None, at: None, why }
    }

    /// Creates the failure to encode the tables' changes for a commit. `is_traced` states that the next run will find the
    /// event that is the cause.
    pub(super) fn commit(stages: &[PlannedStage], error: Error, is_traced: bool) -> Self {
        let why = if is_traced { Why::Unsealed(error) } else { Why::Agent(error.into()) };
        Self { place: "the commit of its tables".to_owned(), ..Self::of_group(stages, why) }
    }

    /// Creates the failure to deliver a message sent since the last commit.
    pub(super) fn undelivered(stages: &[PlannedStage], inputs: &[Vec<GroupInput>], undelivered: Undelivered) -> Self {
        let Undelivered { error, sender } = undelivered;
        let why = if error.is_retriable() { Why::Undelivered(error) } else { Why::Refused(error) };
        let Some((stage, sender)) = sender.and_then(|sender| Some((stages.get(sender.stage)?, sender))) else {
            let place = "its messages since the last commit".to_owned();
            return Self { agent: agents(stages), place, stage: None, events: Vec::new(), skip: None, at: None, why };
        };
        let partition = |at: &Position| {
            let input = inputs.get(sender.stage).and_then(|inputs| inputs.get(at.input as usize));
            input.map(|input| input.reader.partition())
        };
        let agent = stage.agent().to_owned();
        let at = sender.events.first().copied();
        let place = at.and_then(|at| Some(format!("{} offset {}", partition(&at)?, at.offset))).unwrap_or_default();
        let skip = skip(&agent, &sender.events, partition);
        Self { agent, place, stage: Some(sender.stage), events: sender.events, skip, at, why }
    }

    fn of((index, stage): (usize, &RunningStage), why: Why) -> Self {
        let events = if let Why::Ended = why { Vec::new() } else { stage.cursor.progress.unfinished() };
        Self::of_events((index, stage), events, why)
    }

    fn of_events((index, stage): (usize, &RunningStage), events: Vec<Position>, why: Why) -> Self {
        let at = stage.cursor.progress.at();
        let partition = |at: &Position| stage.inputs.get(at.input as usize).map(|input| input.reader.partition());
        let skip = match why {
            Why::Agent(_) => skip(&stage.agent, &events, partition),
            _ => None,
        };
        Self { agent: stage.agent.to_string(), place: stage.place(), stage: Some(index), events, skip, at, why }
    }

    /// Describes the failure in one sentence for the log.
    pub(super) fn what(&self) -> String {
        match &self.why {
            Why::Agent(error) | Why::Hook(error) => format!("agent failed: {}", chain(&**error)),
            Why::Ended => ENDED.to_owned(),
            Why::Undelivered(error) => format!("a message of the agent was not delivered: {error}"),
            Why::Refused(error) => format!("the broker refuses a message of the agent: {error}"),
            Why::Unsealed(error) | Why::Final(error) => error.to_string(),
        }
    }

    /// Returns the error that stops the worker after this number of attempts.
    pub(super) fn into_error(self, attempts: u32) -> Error {
        let Self { agent, place, skip, why, .. } = self;
        let of_agent = |source| Error::Agent { agent, place, attempts, source, skip };
        match why {
            Why::Agent(source) | Why::Hook(source) => of_agent(source),
            Why::Ended => of_agent(ENDED.into()),
            Why::Refused(error) => of_agent(error.into()),
            Why::Undelivered(error) => error.into(),
            Why::Unsealed(error) | Why::Final(error) => error,
        }
    }
}

const ENDED: &str = "agent ended while its stream is open; let it return only after `next()` has returned `None`";

/// Returns the command that skips the event, if it is the only one.
fn skip<'a>(
    agent: &str,
    events: &[Position],
    partition: impl FnOnce(&Position) -> Option<&'a TopicPartition>,
) -> Option<String> {
    let [at] = events else { return None };
    // A shell would take the brackets for a pattern.
    Some(format!("skip '{}' {} --agent {agent}", partition(at)?, at.offset))
}

/// Joins the names of a group's agents.
fn agents(stages: &[PlannedStage]) -> String {
    let mut names: Vec<_> = stages.iter().map(PlannedStage::agent).collect();
    names.dedup();
    names.join("`, `")
}
