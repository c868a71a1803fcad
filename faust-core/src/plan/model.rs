//! The model of an app's topology: its stages, its topics, and the sets that its tasks are made from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::tables::TablePlan;
use crate::agent::AgentEntry;
use crate::declare::TopicDecl;
use crate::stage::HookDef;
use crate::stage::recorder::Forwarder;

/// What an app reads, does and writes. Immutable once declared.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) group: String,
    pub(super) stages: Vec<PlannedStage>,
    pub(super) topics: BTreeMap<String, TopicPlan>,
    pub(super) tables: BTreeMap<Arc<str>, TablePlan>,
    pub(super) sets: Vec<TaskSet>,
}

/// One step of an agent: all of it, or a part between two topics.
#[derive(Clone)]
pub struct PlannedStage {
    pub(crate) name: Arc<str>,
    pub(crate) agent: Arc<str>,
    pub(crate) hop: usize,
    pub(crate) reads: Vec<Arc<str>>,
    pub(super) writes: Vec<String>,
    /// The tables it uses.
    pub(crate) tables: Vec<Arc<str>>,
    /// What hears of the windows of those.
    pub(crate) hooks: Vec<HookDef>,
    pub(crate) run: StageRun,
}

/// What a stage executes.
#[derive(Clone)]
pub(crate) enum StageRun {
    /// The operators before a hop.
    Forward(Arc<dyn Forwarder>, String),
    /// The agent's own function.
    Agent(AgentEntry),
}

/// What a topic is to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicRole {
    /// An agent reads it.
    Source,
    /// The app fills and reads it: the way of a `group_by` or `through`.
    Internal,
    /// Keeps a table.
    Changelog,
    /// The app only writes it.
    Output,
    /// Takes what cannot be decoded.
    DeadLetter,
}

/// A topic of the plan.
#[derive(Clone, Debug)]
pub struct TopicPlan {
    name: String,
    pub(super) role: TopicRole,
    /// How many partitions it has; known once the broker was asked.
    pub(crate) partitions: Option<i32>,
    pub(crate) decl: Option<TopicDecl>,
    /// The topics it is filled from: if it is missing, it gets as many partitions as they have.
    pub(crate) like: Vec<Arc<str>>,
    /// Whether any other count is a fault.
    pub(crate) follows: bool,
    /// Whether what is committed in it is trimmed: only this app reads it.
    pub(crate) purge: bool,
}

/// Topics whose partitions of one number are one task, because some stage reads them together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskSet {
    pub(crate) topics: BTreeSet<Arc<str>>,
    /// The tables its stages use, which are one for all of them.
    pub(crate) tables: BTreeSet<Arc<str>>,
    /// Indexes into [`Plan::stages`].
    pub(crate) stages: Vec<usize>,
}

impl Plan {
    /// The stages, agents in order of name, each from its source to its function.
    pub fn stages(&self) -> &[PlannedStage] {
        &self.stages
    }

    /// Every topic the app touches, by name.
    pub fn topics(&self) -> impl Iterator<Item = &TopicPlan> {
        self.topics.values()
    }

    /// Every table, by name.
    pub fn tables(&self) -> impl Iterator<Item = &TablePlan> {
        self.tables.values()
    }

    /// The topics that hold what the app has made for itself, so that without them it starts over: the changelogs of its
    /// tables, and the ways of its `group_by`. Not what it only passes through, and not its dead letters.
    pub fn own_topics(&self) -> BTreeSet<&str> {
        let changelogs = self.tables().map(TablePlan::changelog);
        let hops = self.stages.iter().filter(|stage| stage.is_forward()).flat_map(|stage| &stage.writes);
        hops.map(String::as_str).filter(|topic| is_repartition(&self.group, topic)).chain(changelogs).collect()
    }

    pub(crate) fn table(&self, name: &str) -> Option<&TablePlan> {
        self.tables.get(name)
    }

    pub(crate) fn topics_mut(&mut self) -> &mut BTreeMap<String, TopicPlan> {
        &mut self.topics
    }

    pub(crate) fn sets(&self) -> &[TaskSet] {
        &self.sets
    }

    /// The topics some stage reads: what the group subscribes to.
    pub(crate) fn subscribed(&self) -> Vec<Arc<str>> {
        let topics: BTreeSet<_> = self.stages.iter().flat_map(|stage| stage.reads.iter().cloned()).collect();
        topics.into_iter().collect()
    }

    /// The set a topic belongs to.
    pub(crate) fn set_of(&self, topic: &str) -> Option<usize> {
        self.sets.iter().position(|set| set.topics.contains(topic))
    }

    /// Notes a topic; reading outweighs writing.
    pub(super) fn topic(&mut self, name: &str, role: TopicRole) -> &mut TopicPlan {
        let topic = self.topics.entry(name.to_owned()).or_insert_with(|| TopicPlan {
            name: name.to_owned(),
            role,
            partitions: None,
            decl: None,
            like: Vec::new(),
            follows: false,
            purge: false,
        });
        topic.role = topic.role.min(role);
        topic
    }
}

impl PlannedStage {
    /// The stage's name: the agent's, with `/0`, `/1` and so on for what runs before a `group_by` or `through`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The agent it is part of.
    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// Whether it only forwards to an internal topic.
    pub fn is_forward(&self) -> bool {
        matches!(self.run, StageRun::Forward(..))
    }

    /// The topics it reads.
    pub fn reads(&self) -> impl Iterator<Item = &str> {
        self.reads.iter().map(|topic| &**topic)
    }

    /// The tables it uses.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().map(|table| &**table)
    }

    /// The topics it declares to write.
    pub fn writes(&self) -> &[String] {
        &self.writes
    }
}

impl TopicPlan {
    /// The topic's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is to the app.
    pub fn role(&self) -> TopicRole {
        self.role
    }

    /// Its partition count, once the broker was asked.
    pub fn partitions(&self) -> Option<i32> {
        self.partitions
    }
}

impl fmt::Display for TopicRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Internal => "internal",
            Self::Changelog => "changelog",
            Self::Output => "output",
            Self::DeadLetter => "dead-letter",
        })
    }
}

impl fmt::Debug for PlannedStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlannedStage")
            .field("name", &self.name)
            .field("reads", &self.reads)
            .field("writes", &self.writes)
            .finish_non_exhaustive()
    }
}

/// One line per stage, indented under the stage that fills its topic.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for stage in &self.stages {
            let indent = "  ".repeat(stage.hop);
            let reads = stage.reads().collect::<Vec<_>>().join(" + ");
            let writes =
                if stage.writes.is_empty() { String::new() } else { format!(" -> {}", stage.writes.join(", ")) };
            writeln!(f, "{indent}{reads} -> {}{writes}", stage.name)?;
        }
        Ok(())
    }
}

/// Whether a topic is named as [`PlanBuilder::hop`] names the way of a `group_by`, and not by the user.
fn is_repartition(group: &str, topic: &str) -> bool {
    topic.strip_prefix(group).is_some_and(|rest| rest.starts_with('-') && rest.ends_with("-repartition"))
}
