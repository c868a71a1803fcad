//! The agents of an app, with its changes, checked together.

use std::collections::BTreeMap;
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
        }
    }

    pub(crate) fn with(self, change: impl FnOnce(AgentOptions) -> AgentOptions) -> Self {
        change(AgentOptions { entry: self }).entry
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
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for agent in &agents {
        places.entry(&agent.name).or_default().push(agent.place());
        if agent.topics.is_empty() {
            faults.push(format!(
                "agent `{}` ({}) has no topic; write `#[agent(topic = \"..\")]`",
                agent.name,
                agent.place()
            ));
        }
        faults.extend(agent.topics.iter().chain(&agent.sinks).filter_map(|topic| check_topic(&agent.name, topic)));
    }
    for (name, places) in places.iter().filter(|(_, places)| places.len() > 1) {
        faults.push(format!(
            "{} agents are called `{name}`: at {}; rename all but one with `name = \"..\"`",
            places.len(),
            places.join(" and ")
        ));
    }
    (agents, faults)
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

    #[test]
    fn no_agents_is_an_error_with_a_fix() {
        let (_, faults) = check(Vec::new());
        assert!(faults.concat().contains("use your_crate as _;"), "{faults:?}");
    }
}
