//! The declaration of one argument of an agent or a hook.

use super::source::SourceDecl;
use super::table::TableDecl;
use super::topic::TopicDecl;

/// What `#[agent]` read from one argument: its name and its attribute.
#[derive(Clone, Copy, Debug)]
pub struct ArgSpec {
    /// The argument's name; a table takes its own from it.
    pub name: &'static str,
    /// From `#[topic(..)]`.
    pub topic: Option<TopicDecl>,
    /// From `#[table(..)]`; a table needs none.
    pub table: Option<TableDecl>,
    /// From the agent's own options: how its stream is decoded.
    pub source: SourceDecl,
}

impl ArgSpec {
    /// An argument without an attribute.
    pub const fn new(name: &'static str) -> Self {
        Self { name, topic: None, table: None, source: SourceDecl { key_codec: None, value_codec: None } }
    }

    /// An argument with `#[topic(..)]`.
    #[must_use]
    pub const fn with_topic(mut self, topic: TopicDecl) -> Self {
        self.topic = Some(topic);
        self
    }

    /// An argument with `#[table(..)]`.
    #[must_use]
    pub const fn with_table(mut self, table: TableDecl) -> Self {
        self.table = Some(table);
        self
    }

    /// The stream, with codecs other than its types' own.
    #[must_use]
    pub const fn with_source(mut self, source: SourceDecl) -> Self {
        self.source = source;
        self
    }
}
