//! The agents of an app, with its changes, checked together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::def::AgentDef;
use crate::config::FailurePolicy;

/// An agent as an app runs it: the definition, with the app's changes.
#[derive(Clone, Debug)]
pub(crate) struct AgentEntry {
    pub(crate) def: AgentDef,
    pub(crate) name: Arc<str>,
    pub(crate) topics: Vec<Arc<str>>,
    pub(crate) sinks: Vec<Arc<str>>,
    pub(crate) on_failure: Option<FailurePolicy>,
    /// The app has added it as a variant of its definition.
    is_variant: bool,
}

/// Changes to an agent on registration, for [`AppBuilder::agent_with`](crate::app::AppBuilder::agent_with).
#[derive(Clone, Debug)]
#[must_use]
pub struct AgentOptions {
    entry: AgentEntry,
}

impl AgentOptions {
    /// Sets another name, so that one function can be several agents.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.entry.name = name.into();
        self
    }

    /// Sets one topic, instead of those of the attribute.
    pub fn topic(self, topic: impl Into<Arc<str>>) -> Self {
        self.topics([topic])
    }

    /// Sets several topics, instead of those of the attribute.
    pub fn topics<T: Into<Arc<str>>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.entry.topics = topics.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the sinks, instead of those of the attribute.
    pub fn sinks<T: Into<Arc<str>>>(mut self, sinks: impl IntoIterator<Item = T>) -> Self {
        self.entry.sinks = sinks.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the handling of its failures, instead of that of the attribute or of the setting `agent_failure`.
    pub fn on_failure(mut self, policy: FailurePolicy) -> Self {
        self.entry.on_failure = Some(policy);
        self
    }
}

impl AgentEntry {
    pub(crate) fn new(def: AgentDef) -> Self {
        let shared = |names: &[&str]| names.iter().map(|&name| Arc::from(name)).collect();
        Self {
            def,
            name: Arc::from(def.name),
            topics: shared(def.topics),
            sinks: shared(def.sinks),
            on_failure: def.on_failure,
            is_variant: false,
        }
    }

    pub(crate) fn with(self, change: impl FnOnce(AgentOptions) -> AgentOptions) -> Self {
        change(AgentOptions { entry: Self { is_variant: true, ..self } }).entry
    }

    fn place(&self) -> String {
        format!("{}:{}", self.def.file, self.def.line)
    }
}

/// Sorts the agents by name, since the link order differs from build to build, and returns them with all faults.
pub(crate) fn check(mut agents: Vec<AgentEntry>) -> (Vec<AgentEntry>, Vec<String>) {
    agents.sort_by(|a, b| (&a.name, a.def.file, a.def.line).cmp(&(&b.name, b.def.file, b.def.line)));
    let mut faults = Vec::new();
    if agents.is_empty() {
        faults.push("no agents are linked: annotate an async fn with `#[agent(topic = \"..\")]`, or, if they are in a library, add `use your_crate as _;` to main.rs".to_owned());
    }
    let mut by_name: BTreeMap<&str, Vec<&AgentEntry>> = BTreeMap::new();
    for agent in &agents {
        by_name.entry(&agent.name).or_default().push(agent);
        if agent.topics.is_empty() {
            faults.push(format!(
                "agent `{}` ({}) has no topic; write `#[agent(topic = \"..\")]`",
                agent.name,
                agent.place()
            ));
        }
        faults.extend(agent.topics.iter().chain(&agent.sinks).filter_map(|topic| check_topic(&agent.name, topic)));
    }
    faults.extend(
        by_name.into_iter().filter(|(_, agents)| agents.len() > 1).map(|(name, agents)| same_name(name, &agents)),
    );
    (agents, faults)
}

/// Describes that several agents have one name, with the fix.
fn same_name(name: &str, agents: &[&AgentEntry]) -> String {
    let places: BTreeSet<_> = agents.iter().map(|agent| agent.place()).collect();
    let (count, function) = (agents.len(), agents.first().map_or(name, |agent| agent.def.name));
    let listed = Vec::from_iter(places.iter().map(String::as_str)).join(" and ");
    if places.len() > 1 {
        format!("{count} agents are called `{name}`: at {listed}; rename all but one with `name = \"..\"`")
    } else if agents.iter().any(|agent| agent.is_variant) {
        format!(
            "{count} variants of the agent at {listed} are called `{name}`; give each its own name: \
             `.agent_with::<{function}>(|agent| agent.name(\"..\"))`"
        )
    } else {
        let modules: BTreeSet<_> = agents.iter().map(|agent| format!("`{}`", agent.def.module)).collect();
        format!(
            "the agent `{name}` at {listed} is linked {count} times, in {}: its file is a module of the library and of the \
             program, or of two modules; keep one of the `mod` lines, that of the library, and write \
             `use your_crate as _;` in main.rs",
            Vec::from_iter(modules).join(" and ")
        )
    }
}

/// Checks a topic name against Kafka's rules.
fn check_topic(agent: &str, topic: &str) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let fault = if topic.is_empty() || topic == "." || topic == ".." {
        "is not a valid name"
    } else if topic.len() > 249 {
        "is longer than 249 characters"
    } else if !topic.chars().all(legal) {
        "has characters other than letters, digits, `.`, `_` and `-`"
    } else {
        return None;
    };
    Some(format!("agent `{agent}`: topic `{topic}` {fault}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEF: AgentDef = AgentDef {
        module: "shop::agents",
        file: "src/agents.rs",
        line: 7,
        ..AgentDef::new("count", &["words"], |_| Ok(Box::pin(async { Ok(()) })))
    };

    #[test]
    fn all_faults_are_reported_together() {
        let twin = AgentEntry::new(AgentDef { file: "src/other.rs", line: 9, ..DEF });
        let lost = AgentEntry::new(DEF).with(|a| a.name("lost").topics::<&str>([]));
        let odd = AgentEntry::new(DEF).with(|a| a.name("odd").topic("a b"));
        let (agents, faults) = check(vec![odd, lost, twin, AgentEntry::new(DEF)]);
        assert_eq!(agents.iter().map(|a| &*a.name).collect::<Vec<_>>(), ["count", "count", "lost", "odd"]);
        let text = faults.join("\n");
        for part in [
            "2 agents are called `count`: at src/agents.rs:7 and src/other.rs:9",
            "agent `lost`",
            "topic `a b` has characters",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }

    /// A place is named once, with the fix for what has brought its agent into the app twice.
    #[test]
    fn an_agent_that_is_there_twice_is_named_once() {
        let variant = || AgentEntry::new(DEF).with(|agent| agent.topic("lines"));
        let cases = [
            (vec![variant(), variant()], "2 variants of the agent at src/agents.rs:7 are called `count`; give each"),
            (
                vec![AgentEntry::new(DEF), AgentEntry::new(DEF)],
                "the agent `count` at src/agents.rs:7 is linked 2 times",
            ),
        ];
        for (agents, expected) in cases {
            let (_, faults) = check(agents);
            let text = faults.join("\n");
            assert!(text.starts_with(expected), "{text}");
            assert_eq!((faults.len(), text.matches("src/agents.rs:7").count()), (1, 1), "{text}");
        }
    }

    #[test]
    fn no_agents_is_an_error_with_a_fix() {
        let (_, faults) = check(Vec::new());
        assert!(faults.concat().contains("use your_crate as _;"), "{faults:?}");
    }
}
