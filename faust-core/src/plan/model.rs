//! The model of an app's topology: stages, topics, tables, and the sets of co-partitioned topics.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::tables::TablePlan;
use crate::agent::AgentEntry;
use crate::config::FailurePolicy;
use crate::declare::TopicDecl;
use crate::stage::HookDef;
use crate::stage::recorder::Forwarder;

/// The topology of an app: its stages, topics and tables.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) group: String,
    pub(super) stages: Vec<PlannedStage>,
    pub(super) topics: BTreeMap<String, TopicPlan>,
    pub(super) tables: BTreeMap<Arc<str>, TablePlan>,
    pub(super) sets: Vec<TaskSet>,
}

/// A stage of an agent: the whole agent, or the part between two of its topics.
#[derive(Clone)]
pub struct PlannedStage {
    pub(crate) name: Arc<str>,
    pub(crate) agent: Arc<str>,
    pub(crate) depth: usize,
    pub(crate) reads: Vec<Arc<str>>,
    pub(super) writes: Vec<String>,
    /// Names of the tables that the stage uses.
    pub(crate) tables: Vec<Arc<str>>,
    /// Hooks of the windowed tables among them.
    pub(crate) hooks: Vec<HookDef>,
    /// Handling of its failures, if it differs from the setting.
    pub(crate) on_failure: Option<FailurePolicy>,
    pub(crate) run: StageRun,
}

#[cfg(test)]
impl PlannedStage {
    /// Creates the stage of an agent that does nothing.
    pub(crate) fn idle(agent: &'static str, reads: &'static [&'static str]) -> Self {
        let def = crate::agent::AgentDef::new(agent, reads, |_| Ok(Box::pin(async { Ok(()) })));
        Self {
            name: agent.into(),
            agent: agent.into(),
            depth: 0,
            reads: reads.iter().map(|topic| Arc::from(*topic)).collect(),
            writes: Vec::new(),
            tables: Vec::new(),
            hooks: Vec::new(),
            on_failure: None,
            run: StageRun::Agent(AgentEntry::new(def)),
        }
    }
}

/// The code that a stage executes.
#[derive(Clone)]
pub(crate) enum StageRun {
    /// The operators before a repartition, and the topic they write to.
    Forward(Arc<dyn Forwarder>, String),
    /// The agent's own function.
    Agent(AgentEntry),
}

/// The role of a topic in an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TopicRole {
    /// Read by an agent.
    Source,
    /// Written and read by the app: the topic of a `group_by` or `through`.
    Internal,
    /// Changelog of a table.
    Changelog,
    /// Only written by the app.
    Output,
    /// Receives messages that cannot be decoded.
    DeadLetter,
    /// Holds the plans and workers of the app.
    Control,
}

/// A topic of the plan.
#[derive(Clone, Debug)]
pub struct TopicPlan {
    name: String,
    pub(super) role: TopicRole,
    /// Number of partitions; `None` until it was looked up on the broker.
    pub(crate) partitions: Option<i32>,
    pub(crate) decl: Option<TopicDecl>,
    /// Topics that its messages are derived from. A missing topic is created with as many partitions as the largest of
    /// them has.
    pub(crate) like: Vec<Arc<str>>,
    /// `true` if its partition count must be that of the topics in `like`.
    pub(crate) follows: bool,
    /// `true` if its records are deleted once they are committed. Only this app reads such a topic.
    pub(crate) purge: bool,
}

/// A set of co-partitioned topics: each partition number is one task, which processes that partition of all of them.
///
/// Topics are in one set if a stage reads them together, or if their stages share a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskSet {
    pub(crate) topics: BTreeSet<Arc<str>>,
    /// Tables that the stages of the set use and share.
    pub(crate) tables: BTreeSet<Arc<str>>,
    /// Indexes of its stages in [`Plan::stages`].
    pub(crate) stages: Vec<usize>,
}

impl Plan {
    /// Returns the stages: agents sorted by name, the stages of each from its source topics to its function.
    pub fn stages(&self) -> &[PlannedStage] {
        &self.stages
    }

    /// Returns every topic that the app reads or writes, sorted by name.
    pub fn topics(&self) -> impl Iterator<Item = &TopicPlan> {
        self.topics.values()
    }

    /// Returns every table, sorted by name.
    pub fn tables(&self) -> impl Iterator<Item = &TablePlan> {
        self.tables.values()
    }

    /// Returns the topics that hold the app's own state: the changelogs of its tables, the repartition topics of its `group_by`,
    /// and its control topic. Without them, the app starts over. Topics named with `through` and the dead-letter topic are not
    /// included.
    pub fn own_topics(&self) -> BTreeSet<&str> {
        let changelogs = self.tables().map(TablePlan::changelog);
        let repartitions = self.stages.iter().filter(|stage| stage.is_forward()).flat_map(|stage| &stage.writes);
        let repartitions = repartitions.map(String::as_str).filter(|topic| is_repartition(&self.group, topic));
        let control = self.topics.values().filter(|topic| topic.role == TopicRole::Control).map(TopicPlan::name);
        repartitions.chain(changelogs).chain(control).collect()
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

    /// Returns the name of the app's control topic.
    pub fn control_topic(&self) -> String {
        control_topic(&self.group)
    }

    /// Returns the topics that the group subscribes to: those that any stage reads.
    pub(crate) fn subscribed(&self) -> Vec<Arc<str>> {
        let topics: BTreeSet<_> = self.stages.iter().flat_map(|stage| stage.reads.iter().cloned()).collect();
        topics.into_iter().collect()
    }

    /// Returns `true` if a `group_by` or `through` writes to the topic.
    pub(crate) fn forwards_to(&self, topic: &str) -> bool {
        self.stages.iter().any(|stage| stage.is_forward() && stage.writes.iter().any(|name| name == topic))
    }

    /// Returns `true` if any stage writes to the topic.
    pub(crate) fn writes_to(&self, topic: &str) -> bool {
        self.stages.iter().any(|stage| stage.writes.iter().any(|name| name == topic))
    }

    /// Returns the index of the set that contains a topic.
    pub(crate) fn set_of(&self, topic: &str) -> Option<usize> {
        self.sets.iter().position(|set| set.topics.contains(topic))
    }

    /// Returns the topics that are missing in the partition of a set with tables, which only works as a whole. A topic may have
    /// fewer partitions than others.
    pub(crate) fn missing<'a>(
        &self,
        (set, number): (usize, i32),
        assigned: impl Iterator<Item = &'a str>,
    ) -> Vec<&str> {
        let Some(set) = self.sets.get(set).filter(|set| !set.tables.is_empty()) else { return Vec::new() };
        let assigned: BTreeSet<_> = assigned.collect();
        let has_partition = |topic: &&Arc<str>| {
            self.topics.get(&***topic).and_then(TopicPlan::partitions).is_none_or(|count| number < count)
        };
        set.topics
            .iter()
            .filter(has_partition)
            .map(|topic| &**topic)
            .filter(|topic| !assigned.contains(topic))
            .collect()
    }

    /// Returns the topics that are read together with this one, and itself, in each partition; none if no stage reads it.
    pub fn read_together(&self, topic: &str) -> Vec<Arc<str>> {
        let set = self.set_of(topic).and_then(|set| self.sets.get(set));
        set.iter().flat_map(|set| &set.topics).cloned().collect()
    }

    /// Returns a topic, and adds it if it is new. Of several roles, the topic keeps the first in the order of
    /// [`TopicRole`]: a topic that is both read and written is a source.
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
    /// Returns the stage's name: the agent's name, followed by `/0`, `/1` and so on for the stages that end in a
    /// `group_by` or `through`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the name of its agent.
    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// Returns `true` if the stage only forwards events to the topic of a `group_by` or `through`.
    pub fn is_forward(&self) -> bool {
        matches!(self.run, StageRun::Forward(..))
    }

    /// Returns the topics that the stage reads.
    pub fn reads(&self) -> impl Iterator<Item = &str> {
        self.reads.iter().map(|topic| &**topic)
    }

    /// Returns the tables that the stage uses.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().map(|table| &**table)
    }

    /// Returns the topics that the stage declares as its outputs.
    pub fn writes(&self) -> &[String] {
        &self.writes
    }
}

impl TopicPlan {
    /// Returns the topic's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the topic's role in the app.
    pub fn role(&self) -> TopicRole {
        self.role
    }

    /// Returns the topic's partition count; `None` until it was looked up on the broker.
    pub fn partitions(&self) -> Option<i32> {
        self.partitions
    }
}

/// Returns the name of an app's control topic.
pub(super) fn control_topic(app: &str) -> String {
    format!("{app}-control")
}

impl fmt::Display for TopicRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Internal => "internal",
            Self::Changelog => "changelog",
            Self::Output => "output",
            Self::DeadLetter => "dead-letter",
            Self::Control => "control",
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

/// Formats one line per stage, indented under the stage that writes its input topic.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for stage in &self.stages {
            let indent = "  ".repeat(stage.depth);
            let reads = stage.reads().collect::<Vec<_>>().join(" + ");
            let writes =
                if stage.writes.is_empty() { String::new() } else { format!(" -> {}", stage.writes.join(", ")) };
            writeln!(f, "{indent}{reads} -> {}{writes}", stage.name)?;
        }
        Ok(())
    }
}

/// Returns `true` if the topic has a name that [`PlanBuilder::repartition_topic`] generates for a `group_by`.
fn is_repartition(group: &str, topic: &str) -> bool {
    topic.strip_prefix(group).is_some_and(|rest| rest.starts_with('-') && rest.ends_with("-repartition"))
}
