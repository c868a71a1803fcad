//! What an agent declares while it is planned: the topics it writes, the hops it takes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::future::AgentFuture;
use super::running::RunningStage;
use crate::codec::Role;
use crate::declare::TopicDecl;
use crate::error::Error;
use crate::table_state::TableFactory;

/// Filled by the planning run of one agent. Its stream, topics and operators write into it.
#[derive(Default)]
pub(crate) struct PlanRecorder {
    agent: String,
    /// The app with its version: internal topics begin with it.
    group: String,
    declared: Mutex<Declared>,
}

/// What has been declared so far.
#[derive(Default)]
pub(crate) struct Declared {
    /// The argument that is the stream.
    pub(crate) stream: Option<&'static str>,
    /// Topics written to, with what was declared of them.
    pub(crate) outputs: Vec<Output>,
    /// `group_by` and `through`, in order.
    pub(crate) hops: Vec<(RepartitionTarget, Arc<dyn Forwarder>)>,
    /// The hop whose stream was polled: the agent has come to its loop.
    pub(crate) polled: Option<usize>,
    /// The tables it takes.
    pub(crate) tables: Vec<Arc<dyn TableFactory>>,
    /// For a hook, the types by which it takes the table's keys and values.
    pub(crate) hook_parts: Vec<(Role, &'static str)>,
    /// What it did that planning cannot allow.
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
        Arc::new(Self { agent: agent.to_owned(), group: group.to_owned(), declared: Mutex::default() })
    }

    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    /// A hook takes a key or a value of its table as this type.
    pub(crate) fn hook_part(&self, role: Role, type_name: &'static str) {
        self.declared().hook_parts.push((role, type_name));
    }

    /// The agent takes a table.
    pub(crate) fn table(&self, table: Arc<dyn TableFactory>) {
        self.declared().tables.push(table);
    }

    /// The agent asks for its stream.
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

    /// A topic is written to.
    pub(crate) fn writes(&self, topic: &str) {
        self.declared().outputs.push(Output { name: topic.to_owned(), decl: None });
    }

    /// A topic is written to and declared.
    pub(crate) fn declares(&self, decl: &TopicDecl) {
        self.declared().outputs.push(Output { name: decl.name.to_owned(), decl: Some(*decl) });
    }

    /// The stream goes on elsewhere.
    pub(crate) fn hop(&self, target: RepartitionTarget, forwarder: Arc<dyn Forwarder>) {
        self.declared().hops.push((target, forwarder));
    }

    /// The stream of this hop was polled: all is declared.
    pub(crate) fn polled(&self, hop: usize) {
        self.declared().polled.get_or_insert(hop);
    }

    /// The agent has come to its stream.
    pub(crate) fn is_complete(&self) -> bool {
        self.declared().polled.is_some()
    }

    /// The agent did what it can do only once it runs. The caller gets the error too.
    pub(crate) fn violation(&self, what: &str) -> Error {
        let fault = format!(
            "agent `{}` {what} before it reads its stream; move that into the loop (every agent is started once to learn its topology)",
            self.agent
        );
        self.declared().faults.push(fault.clone());
        Error::Misuse(fault)
    }

    /// A declaration is wrong.
    pub(crate) fn fault(&self, what: String) {
        let fault = format!("agent `{}`: {what}", self.agent);
        self.declared().faults.push(fault);
    }

    /// Everything, once the planning run is over.
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

/// Where a hop leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RepartitionTarget {
    /// An internal topic, named after app, agent and this; with as many partitions as the source unless said.
    Internal { name: String, partitions: Option<i32> },
    /// The user's own topic.
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

/// The stage before a hop: reads, applies the recorded operators, sends on.
pub(crate) trait Forwarder: Send + Sync {
    /// Runs in one partition until its stream ends.
    fn start(&self, stage: Arc<RunningStage>, to: &str) -> Result<AgentFuture, Error>;
}
