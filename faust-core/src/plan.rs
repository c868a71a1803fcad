//! The topology of an app: which stages read which topics and write which. Drawn before anything is subscribed.

pub(crate) mod planner;
pub(crate) mod settle;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::stage::recorder::Drawn;
pub use self::tables::TablePlan;
use crate::declare::TopicDecl;
use crate::stage::dead_letter;
use crate::agent::AgentEntry;
use crate::stage::recorder::{Forwarder, Target};
use crate::stage::HookDef;

/// What an app reads, does and writes. Immutable once drawn.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) group: String,
    stages: Vec<Stage>,
    topics: BTreeMap<String, TopicPlan>,
    tables: BTreeMap<Arc<str>, TablePlan>,
    sets: Vec<TaskSet>,
}

/// One step of an agent: all of it, or a part between two topics.
#[derive(Clone)]
pub struct Stage {
    pub(crate) name: Arc<str>,
    pub(crate) agent: Arc<str>,
    pub(crate) hop: usize,
    pub(crate) reads: Vec<Arc<str>>,
    writes: Vec<String>,
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
pub enum Role {
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
    role: Role,
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
    /// Draws the plan from what each agent declared.
    ///
    /// # Errors
    /// All faults of the topology together.
    pub(crate) fn draw(
        group: &str,
        agents: Vec<(AgentEntry, Drawn)>,
        hooks: Vec<(HookDef, Drawn)>,
    ) -> Result<Self, Vec<String>> {
        let plan = Self {
            group: group.to_owned(),
            stages: Vec::new(),
            topics: BTreeMap::new(),
            tables: BTreeMap::new(),
            sets: Vec::new(),
        };
        let mut drawing = Drawing { group, plan, faults: Vec::new() };
        for (entry, drawn) in agents {
            drawing.agent(entry, drawn);
        }
        drawing.hooks(hooks);
        drawing.plan.topic(&dead_letter::topic(group), Role::DeadLetter);
        let Drawing { mut plan, faults, .. } = drawing;
        plan.sets = task_sets(&plan.stages);
        if faults.is_empty() { Ok(plan) } else { Err(faults) }
    }

    /// The stages, agents in order of name, each from its source to its function.
    pub fn stages(&self) -> &[Stage] {
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
    fn topic(&mut self, name: &str, role: Role) -> &mut TopicPlan {
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

/// A plan while it is drawn.
struct Drawing<'a> {
    group: &'a str,
    plan: Plan,
    faults: Vec<String>,
}

impl Drawing<'_> {
    fn agent(&mut self, entry: AgentEntry, drawn: Drawn) {
        let agent = Arc::clone(&entry.name);
        for output in &drawn.outputs {
            let topic = self.plan.topic(&output.name, Role::Output);
            topic.decl = topic.decl.or(output.decl);
        }
        for sink in &entry.sinks {
            self.plan.topic(sink, Role::Output);
        }
        for source in &entry.topics {
            self.plan.topic(source, Role::Source);
        }
        let mut reads = entry.topics.clone();
        for (hop, (target, forwarder)) in drawn.hops.into_iter().enumerate() {
            let to = self.hop(&agent, &target, &reads);
            let name = format!("{agent}/{hop}").into();
            let run = StageRun::Forward(forwarder, to.clone());
            let (tables, hooks) = (Vec::new(), Vec::new());
            let agent = Arc::clone(&agent);
            self.plan.stages.push(Stage { name, agent, hop, reads, writes: vec![to.clone()], tables, hooks, run });
            reads = vec![to.into()];
        }
        let hop = self.plan.stages.iter().filter(|stage| stage.agent == agent).count();
        let writes: BTreeSet<_> = drawn.outputs.into_iter().map(|output| output.name).collect();
        let writes = writes.into_iter().chain(entry.sinks.iter().map(|sink| sink.to_string())).collect();
        let tables = self.tables(&agent, &reads, drawn.tables);
        self.plan.stages.push(Stage {
            name: Arc::clone(&agent),
            agent,
            hop,
            reads,
            writes,
            tables,
            hooks: Vec::new(),
            run: StageRun::Agent(entry),
        });
    }

    /// The topic a hop leads to, with its faults noted.
    fn hop(&mut self, agent: &str, target: &Target, reads: &[Arc<str>]) -> String {
        let mut fault = |what: &str| self.faults.push(format!("agent `{agent}`: {target} {what}"));
        let name = match target {
            Target::Internal { name, .. } => format!("{}-{agent}-{name}-repartition", self.group),
            Target::Named(name) => name.clone(),
        };
        let topic = self.plan.topic(&name, Role::Internal);
        match target {
            Target::Named(_) if reads.iter().any(|source| **source == *name) => {
                fault("leads back to the topic it reads; name another topic");
            }
            Target::Named(_) => {}
            Target::Internal { .. } if !topic.like.is_empty() => {
                fault("occurs twice; give each `group_by` a name of its own");
            }
            Target::Internal { partitions: Some(..=0), .. } => fault("has no partitions; give it at least one"),
            Target::Internal { partitions, .. } => {
                topic.follows = partitions.is_none();
                topic.purge = true;
                // Kept whatever the events' own times are: year-old events are new here.
                topic.decl = Some(TopicDecl {
                    partitions: *partitions,
                    retention_ms: Some(-1),
                    ..TopicDecl::new("repartition")
                });
            }
        }
        topic.like.extend(reads.iter().cloned());
        name
    }
}

/// Whether a topic is named as [`Drawing::hop`] names the way of a `group_by`, and not by the user.
fn is_repartition(group: &str, topic: &str) -> bool {
    topic.strip_prefix(group).is_some_and(|rest| rest.starts_with('-') && rest.ends_with("-repartition"))
}

/// Groups stages that share a topic or a table: partition `p` of all their topics is one task.
fn task_sets(stages: &[Stage]) -> Vec<TaskSet> {
    let mut sets: Vec<TaskSet> = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        let topics = stage.reads.iter().cloned().collect();
        let mut merged = TaskSet { topics, tables: stage.tables.iter().cloned().collect(), stages: vec![index] };
        let (joined, apart): (Vec<_>, Vec<_>) = sets
            .into_iter()
            .partition(|set| !set.topics.is_disjoint(&merged.topics) || !set.tables.is_disjoint(&merged.tables));
        for set in joined {
            merged.topics.extend(set.topics);
            merged.tables.extend(set.tables);
            merged.stages.extend(set.stages);
        }
        merged.stages.sort_unstable();
        sets = apart;
        sets.push(merged);
    }
    sets.sort_by_key(|set| set.stages.first().copied());
    sets
}

impl Stage {
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
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its partition count, once the broker was asked.
    pub fn partitions(&self) -> Option<i32> {
        self.partitions
    }
}

impl fmt::Display for Role {
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

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::AgentDef;

    fn agent(name: &'static str, topics: &'static [&'static str]) -> (AgentEntry, Drawn) {
        let start: fn(&mut crate::stage::AgentCx<'_>) -> _ = |_| Ok(Box::pin(async { Ok(()) }) as _);
        let def = AgentDef { name, topics, sinks: &[], help: "", module: "m", file: "f.rs", line: 1, start };
        (AgentEntry::new(def), Drawn::default())
    }

    #[test]
    fn stages_that_share_a_topic_are_one_set() {
        let agents = vec![agent("a", &["x"]), agent("b", &["y"]), agent("c", &["z"]), agent("d", &["x", "z"])];
        let plan = Plan::draw("app", agents, Vec::new()).expect("no faults");
        let sets: Vec<_> = plan
            .sets()
            .iter()
            .map(|set| set.topics.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(","))
            .collect();
        assert_eq!(sets, ["x,z", "y"]);
        assert_eq!(plan.set_of("z"), Some(0));
        let roles: Vec<_> = plan.topics().map(|t| format!("{} {}", t.name(), t.role())).collect();
        assert_eq!(roles, ["app-dead-letter dead-letter", "x source", "y source", "z source"]);
    }
}
