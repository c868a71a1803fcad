//! The declaration of one argument of an agent or a hook.

use super::source::SourceDecl;
use super::table::TableDecl;
use super::topic::TopicDecl;

/// An argument as `#[agent]` parsed it: its name and its attribute.
#[derive(Clone, Copy, Debug)]
pub struct ArgSpec {
    /// Name of the argument; a table is named after it.
    pub name: &'static str,
    /// Declaration from `#[topic(..)]`.
    pub topic: Option<TopicDecl>,
    /// Declaration from `#[table(..)]`, which is optional for a table.
    pub table: Option<TableDecl>,
    /// Codecs of the stream, from the agent's own options.
    pub source: SourceDecl,
}

impl ArgSpec {
    /// Creates an argument without an attribute.
    pub const fn new(name: &'static str) -> Self {
        Self { name, topic: None, table: None, source: SourceDecl { key_codec: None, value_codec: None } }
    }

    /// Adds the declaration of `#[topic(..)]`.
    #[must_use]
    pub const fn with_topic(mut self, topic: TopicDecl) -> Self {
        self.topic = Some(topic);
        self
    }

    /// Adds the declaration of `#[table(..)]`.
    #[must_use]
    pub const fn with_table(mut self, table: TableDecl) -> Self {
        self.table = Some(table);
        self
    }

    /// Sets codecs for the stream, instead of its types' own.
    #[must_use]
    pub const fn with_source(mut self, source: SourceDecl) -> Self {
        self.source = source;
        self
    }
}
