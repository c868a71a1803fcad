//! The subscription of a member: names of topics, and a regular expression for names.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::Topic;
use crate::core::pattern::NamePattern;

/// The topics that a member reads.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Subscription {
    /// Names of topics, which need not exist.
    pub(crate) names: BTreeSet<String>,
    pub(crate) pattern: Option<NamePattern>,
    /// The ids of the topics that exist, as of the last look at all topics.
    pub(crate) topics: BTreeSet<u128>,
}

impl Subscription {
    /// Looks up the ids of the subscribed topics.
    pub(super) fn resolve(&mut self, topics: &BTreeMap<String, Topic>) {
        let named = self.names.iter().filter_map(|name| topics.get(name)).map(Topic::id);
        let matching = self
            .pattern
            .iter()
            .flat_map(|pattern| topics.iter().filter(|(name, _)| pattern.matches(name)).map(|(_, topic)| topic.id()));
        self.topics = named.chain(matching).collect();
    }

    /// Returns true if the topic with this name is subscribed to.
    pub(super) fn contains(&self, topic: &str) -> bool {
        self.names.contains(topic) || self.pattern.as_ref().is_some_and(|pattern| pattern.matches(topic))
    }
}
