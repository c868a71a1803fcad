//! Builds the plan from the declarations of every agent and hook.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::model::{Plan, PlannedStage, StageRun, TaskSet, TopicRole, control_topic};
use crate::agent::AgentEntry;
use crate::declare::TopicDecl;
use crate::offsets::{CommitMetadata, NameHash};
use crate::stage::recorder::{Declared, RepartitionTarget};
use crate::stage::{HookDef, dead_letter};

impl Plan {
    /// Builds the plan from the declarations of the agents and hooks.
    ///
    /// # Errors
    /// Reports all faults of the topology together.
    pub(crate) fn build(
        group: &str,
        agents: Vec<(AgentEntry, Declared)>,
        hooks: Vec<(HookDef, Declared)>,
    ) -> Result<Self, Vec<String>> {
        let plan = Self {
            group: group.to_owned(),
            stages: Vec::new(),
            topics: BTreeMap::new(),
            tables: BTreeMap::new(),
            sets: Vec::new(),
        };
        let mut builder = PlanBuilder { group, plan, faults: Vec::new() };
        for (entry, declared) in agents {
            builder.agent(entry, declared);
        }
        builder.hooks(hooks);
        builder.plan.topic(&dead_letter::topic(group), TopicRole::DeadLetter);
        builder.plan.topic(&control_topic(group), TopicRole::Control);
        let PlanBuilder { mut plan, mut faults, .. } = builder;
        let control = control_topic(group);
        if plan.topics.get(&control).is_some_and(|topic| topic.role != TopicRole::Control) {
            faults.push(format!("topic `{control}` is the app's control topic, in which its workers describe themselves: choose another name"));
        }
        plan.sets = task_sets(&plan.stages);
        faults.extend(metadata_faults(&plan));
        if faults.is_empty() { Ok(plan) } else { Err(faults) }
    }
}

/// Returns what keeps the metadata of a commit from holding the positions of all stages.
fn metadata_faults(plan: &Plan) -> Vec<String> {
    let mut faults = Vec::new();
    for set in &plan.sets {
        let stages: Vec<_> = set.stages.iter().filter_map(|index| plan.stages.get(*index)).collect();
        let inputs = stages.iter().map(|stage| stage.reads.len()).sum();
        if !CommitMetadata::fits(stages.len(), inputs, set.topics.len(), set.tables.len()) {
            let topics = set.topics.iter().map(|topic| format!("`{topic}`")).collect::<Vec<_>>().join(", ");
            faults.push(format!(
                "{} agents with {} tables read topic {topics}: their positions do not fit into the 4096 bytes that a broker stores with an offset; split them into several apps",
                stages.len(),
                set.tables.len()
            ));
        }
        faults.extend(faults_of_hashes("agents", stages.iter().map(|stage| &*stage.name).collect()));
        faults.extend(faults_of_hashes("tables", set.tables.iter().map(|table| &**table).collect()));
        faults.extend(faults_of_hashes("topics", set.topics.iter().map(|topic| &**topic).collect()));
    }
    faults
}

/// Returns a fault for names whose hashes in the metadata are equal. Among a hundred names, this has a probability of 1 in
/// 3400.
fn faults_of_hashes(kind: &str, names: Vec<&str>) -> Vec<String> {
    let mut seen: BTreeMap<NameHash, &str> = BTreeMap::new();
    let clash = |name| {
        let first = seen.insert(NameHash::of(name), name)?;
        (first != name).then(|| {
            format!(
                "the {kind} `{first}` and `{name}` have the same hash in the metadata of commits: rename one of them"
            )
        })
    };
    names.into_iter().filter_map(clash).collect()
}

/// A plan under construction, with the faults found so far.
pub(super) struct PlanBuilder<'a> {
    group: &'a str,
    pub(super) plan: Plan,
    pub(super) faults: Vec<String>,
}

impl PlanBuilder<'_> {
    fn agent(&mut self, entry: AgentEntry, declared: Declared) {
        let agent = Arc::clone(&entry.name);
        for output in &declared.outputs {
            let topic = self.plan.topic(&output.name, TopicRole::Output);
            topic.decl = topic.decl.or(output.decl);
        }
        for sink in &entry.sinks {
            self.plan.topic(sink, TopicRole::Output);
        }
        for source in &entry.topics {
            self.plan.topic(source, TopicRole::Source);
        }
        let mut reads = entry.topics.clone();
        for (depth, (target, forwarder)) in declared.repartitions.into_iter().enumerate() {
            let to = self.repartition_topic(&agent, &target, &reads);
            let name = format!("{agent}/{depth}").into();
            let run = StageRun::Forward(forwarder, to.clone());
            let (tables, hooks) = (Vec::new(), Vec::new());
            let agent = Arc::clone(&agent);
            self.plan.stages.push(PlannedStage {
                name,
                agent,
                depth,
                reads,
                writes: vec![to.clone()],
                tables,
                hooks,
                on_failure: entry.on_failure,
                run,
            });
            reads = vec![to.into()];
        }
        let depth = self.plan.stages.iter().filter(|stage| stage.agent == agent).count();
        let writes: BTreeSet<_> = declared.outputs.into_iter().map(|output| output.name).collect();
        let writes = writes.into_iter().chain(entry.sinks.iter().map(|sink| sink.to_string())).collect();
        let tables = self.tables(&agent, &reads, declared.tables);
        self.plan.stages.push(PlannedStage {
            name: Arc::clone(&agent),
            agent,
            depth,
            reads,
            writes,
            tables,
            hooks: Vec::new(),
            on_failure: entry.on_failure,
            run: StageRun::Agent(entry),
        });
    }

    /// Adds the topic that a repartition writes to and returns its name. Records faults of the repartition.
    fn repartition_topic(&mut self, agent: &str, target: &RepartitionTarget, reads: &[Arc<str>]) -> String {
        let mut fault = |what: &str| self.faults.push(format!("agent `{agent}`: {target} {what}"));
        let name = match target {
            RepartitionTarget::Internal { name, .. } => format!("{}-{agent}-{name}-repartition", self.group),
            RepartitionTarget::Named(name) => name.clone(),
        };
        let topic = self.plan.topic(&name, TopicRole::Internal);
        match target {
            RepartitionTarget::Named(_) if reads.iter().any(|source| **source == *name) => {
                fault("leads back to the topic it reads; name another topic");
            }
            RepartitionTarget::Named(_) => {}
            RepartitionTarget::Internal { .. } if !topic.like.is_empty() => {
                fault("occurs twice; give each `group_by` its own name");
            }
            RepartitionTarget::Internal { partitions: Some(..=0), .. } => {
                fault("has no partitions; give it at least one")
            }
            RepartitionTarget::Internal { partitions, .. } => {
                topic.follows = partitions.is_none();
                topic.purge = true;
                // No time-based retention: records keep the timestamps of their events, so a broker would delete old
                // events before they are read.
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

/// Groups stages that share a topic or a table into sets. Partition `p` of all topics of a set is processed by one
/// task.
fn task_sets(stages: &[PlannedStage]) -> Vec<TaskSet> {
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

#[cfg(test)]
mod tests {
    use crate::agent::AgentDef;
    use crate::agent::AgentEntry;
    use crate::plan::model::Plan;
    use crate::stage::recorder::Declared;

    fn agent(name: &'static str, topics: &'static [&'static str]) -> (AgentEntry, Declared) {
        let def = AgentDef::new(name, topics, |_| Ok(Box::pin(async { Ok(()) })));
        (AgentEntry::new(def), Declared::default())
    }

    #[test]
    fn stages_that_share_a_topic_are_one_set() {
        let agents = vec![agent("a", &["x"]), agent("b", &["y"]), agent("c", &["z"]), agent("d", &["x", "z"])];
        let plan = Plan::build("app", agents, Vec::new()).expect("no faults");
        let sets: Vec<_> = plan
            .sets()
            .iter()
            .map(|set| set.topics.iter().map(|t| t.to_string()).collect::<Vec<_>>().join(","))
            .collect();
        assert_eq!(sets, ["x,z", "y"]);
        assert_eq!(plan.set_of("z"), Some(0));
        let roles: Vec<_> = plan.topics().map(|t| format!("{} {}", t.name(), t.role())).collect();
        assert_eq!(roles, ["app-control control", "app-dead-letter dead-letter", "x source", "y source", "z source"]);
    }

    #[test]
    fn more_agents_than_fit_into_the_metadata_are_refused() {
        let agents = |count: usize| {
            let named = |n: usize| agent(format!("agent-{n}").leak(), &["x"]);
            Plan::build("app", (0..count).map(named).collect(), Vec::new())
        };
        assert!(agents(120).is_ok());
        let faults = agents(400).expect_err("400 agents do not fit");
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].starts_with("400 agents with 0 tables read topic `x`: their positions do not fit"),
            "{}",
            faults[0]
        );
    }

    #[test]
    fn names_with_equal_hashes_are_refused() {
        let mut seen = std::collections::BTreeMap::new();
        let clash = (0..).map(|n| format!("agent-{n}")).find_map(|name| {
            let first = seen.insert(crate::offsets::NameHash::of(&name), name.clone())?;
            Some((first, name))
        });
        let (first, second) = clash.expect("24 bits have few values");
        let agents = vec![agent(first.clone().leak(), &["x"]), agent(second.clone().leak(), &["x"])];
        let faults = Plan::build("app", agents, Vec::new()).expect_err("the names clash");
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].contains(&first) && faults[0].contains(&second) && faults[0].contains("rename"),
            "{}",
            faults[0]
        );
    }
}
