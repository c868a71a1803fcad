//! The subscription of a member: names of topics, and a regular expression for names.

use std::collections::{BTreeMap, BTreeSet};

use regex::{Regex, RegexBuilder};

use crate::core::{ErrorCode, Refusal, Topic};

/// Maximum size of a compiled expression in bytes.
const MAX_PATTERN_SIZE: usize = 1024 * 1024;

/// The topics that a member reads.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Subscription {
    /// Names of topics, which need not exist.
    pub(crate) names: BTreeSet<String>,
    pub(crate) pattern: Option<TopicPattern>,
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

/// A regular expression that matches whole names of topics.
#[derive(Debug, Clone)]
pub(crate) struct TopicPattern {
    text: String,
    regex: Regex,
}

impl PartialEq for TopicPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl TopicPattern {
    /// Compiles an expression in the syntax of RE2.
    ///
    /// # Errors
    /// `InvalidRegularExpression`, with the reason.
    pub(super) fn new(text: &str) -> Result<Self, Refusal> {
        // On its own first, since the group around it could close one that the text leaves open.
        let built = RegexBuilder::new(text)
            .size_limit(MAX_PATTERN_SIZE)
            .build()
            .and_then(|_| RegexBuilder::new(&format!("^(?:{text})$")).size_limit(MAX_PATTERN_SIZE).build());
        match built {
            Ok(regex) => Ok(Self { text: text.to_owned(), regex }),
            Err(error) => {
                // The error shows the expression in several lines; its last one is the reason.
                let shown = error.to_string();
                let reason = shown.lines().last().unwrap_or_default().trim_start_matches("error: ");
                let text = format!("SubscribedTopicRegex `{text}` is not a valid regular expression of RE2: {reason}");
                Err(Refusal::new(ErrorCode::InvalidRegularExpression, text))
            }
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    fn matches(&self, topic: &str) -> bool {
        self.regex.is_match(topic)
    }
}
