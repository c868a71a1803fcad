//! The recorder of an agent's declarations in planning: topics it writes, repartitions, and tables.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;

use super::future::AgentFuture;
use super::gate::READ_ELSEWHERE;
use super::running::RunningStage;
use crate::codec::Role;
use crate::declare::TopicDecl;
use crate::error::Error;
use crate::table_state::TableFactory;

/// The record of an agent's planning run, filled by the agent's stream, topics, tables and operators.
#[derive(Default)]
pub(crate) struct PlanRecorder {
    agent: String,
    /// Id of the app with its version, the prefix of internal topics.
    group: String,
    declared: Mutex<Declared>,
    /// The Tokio task of the planning run. No other may read the stream.
    task: OnceLock<tokio::task::Id>,
    planner: AtomicWaker,
}

/// The declarations recorded so far.
#[derive(Default)]
pub(crate) struct Declared {
    /// Name of the argument that is the stream.
    pub(crate) stream: Option<&'static str>,
    /// Topics written to, with their declarations.
    pub(crate) outputs: Vec<Output>,
    /// The `group_by` and `through` operators, in order.
    pub(crate) repartitions: Vec<(RepartitionTarget, Arc<dyn Forwarder>)>,
    /// The depth of the stream that was polled, which shows that the agent has reached its loop.
    pub(crate) polled: Option<usize>,
    /// Tables that the agent takes.
    pub(crate) tables: Vec<Arc<dyn TableFactory>>,
    /// For a hook, the types of its arguments for the table's keys and values.
    pub(crate) hook_parts: Vec<(Role, &'static str)>,
    /// Invalid declarations, and operations that planning does not allow.
    pub(crate) faults: Vec<String>,
}

/// A topic an agent writes to.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(crate) name: String,
    pub(crate) decl: Option<TopicDecl>,
}

impl PlanRecorder {
    pub(crate) fn new(agent: &str, group: &str) -> Arc<Self> {
        Arc::new(Self {
            agent: agent.to_owned(),
            group: group.to_owned(),
            declared: Mutex::default(),
            task: OnceLock::new(),
            planner: AtomicWaker::new(),
        })
    }

    /// Notes the Tokio task in which the agent is planned, and its waker.
    pub(crate) fn planned_by(&self, waker: &Waker) {
        if let Some(task) = tokio::task::try_id() {
            self.task.get_or_init(|| task);
        }
        self.planner.register(waker);
    }

    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    /// Records the type with which a hook takes a key or a value of its table.
    pub(crate) fn hook_part(&self, role: Role, type_name: &'static str) {
        self.declared().hook_parts.push((role, type_name));
    }

    /// Records a table that the agent takes.
    pub(crate) fn table(&self, table: Arc<dyn TableFactory>) {
        self.declared().tables.push(table);
    }

    /// Records the agent's stream. A second stream is an error.
    pub(crate) fn stream(&self, name: &'static str, value: &str) -> Result<(), Error> {
        let mut declared = self.declared();
        if let Some(first) = declared.stream.replace(name) {
            let fault = format!(
                "agent `{}` takes two streams, `{first}` and `{name}` (of `{value}`); give it `topics = [..]` or split it in two",
                self.agent
            );
            return Err(Error::setup(vec![fault]));
        }
        Ok(())
    }

    /// Records a topic that is written to.
    pub(crate) fn writes(&self, topic: &str) {
        self.declared().outputs.push(Output { name: topic.to_owned(), decl: None });
    }

    /// Records a topic that is written to, with its declaration.
    pub(crate) fn declares(&self, decl: &TopicDecl) {
        self.declared().outputs.push(Output { name: decl.name.to_owned(), decl: Some(*decl) });
    }

    /// Records a repartition of the stream.
    pub(crate) fn repartition(&self, target: RepartitionTarget, forwarder: Arc<dyn Forwarder>) {
        self.declared().repartitions.push((target, forwarder));
    }

    /// Records that the stream of this depth was polled, which ends the declarations.
    pub(crate) fn polled(&self, depth: usize) {
        self.declared().polled.get_or_insert(depth);
        if tokio::task::try_id() != self.task.get().copied() {
            self.fault(format!("agent `{}`: {READ_ELSEWHERE}", self.agent));
            self.planner.wake();
        }
    }

    /// Returns `true` if the agent has polled its stream.
    pub(crate) fn is_complete(&self) -> bool {
        self.declared().polled.is_some()
    }

    /// Records an operation that is allowed only once the agent runs. The error is also returned, for the caller.
    pub(crate) fn violation(&self, what: &str) -> Error {
        let fault = format!(
            "agent `{}` {what} before it reads its stream; move that into the loop, because every agent is started once to learn its topology (book: Code before the first next())",
            self.agent
        );
        self.declared().faults.push(fault.clone());
        Error::Misuse(fault)
    }

    /// Records an invalid declaration.
    pub(crate) fn fault(&self, what: String) {
        let fault = format!("agent `{}`: {what}", self.agent);
        self.declared().faults.push(fault);
    }

    /// Takes all declarations, once the planning run is over.
    pub(crate) fn take(&self) -> Declared {
        std::mem::take(&mut *self.declared())
    }

    fn declared(&self) -> MutexGuard<'_, Declared> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for PlanRecorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlanRecorder").field("agent", &self.agent).finish_non_exhaustive()
    }
}

/// The target of a repartition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RepartitionTarget {
    /// An internal topic named after the app, the agent and this name. It has as many partitions as the source, unless
    /// `partitions` is set.
    Internal { name: String, partitions: Option<i32> },
    /// A topic of the user.
    Named(String),
}

impl std::fmt::Display for RepartitionTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Internal { name, .. } => write!(f, "group_by `{name}`"),
            Self::Named(name) => write!(f, "through `{name}`"),
        }
    }
}

/// The stage before a repartition: reads its source, applies the recorded operators, and sends the results to a topic.
pub(crate) trait Forwarder: Send + Sync {
    /// Starts forwarding in one partition, to the topic `to`, until the stream ends.
    fn start(&self, stage: Arc<RunningStage>, to: &str) -> Result<AgentFuture, Error>;
}
