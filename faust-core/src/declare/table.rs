//! The declaration of a table, from `#[table(..)]`.

use std::any::Any;

use super::window::WindowDecl;
use crate::time::Timestamp;

/// A table as `#[table(..)]` declares it. Absent values are chosen by the engine and the settings.
#[derive(Clone, Copy, Debug)]
pub struct TableDecl {
    /// Name of the table, if it is not the argument's.
    pub name: Option<&'static str>,
    /// Windows of a windowed table.
    pub window: Option<WindowDecl>,
    /// Name of the changelog, if it is not `<app>-<table>-changelog`.
    pub changelog_topic: Option<&'static str>,
    /// Purpose of the table, in one line; may be empty.
    pub help: &'static str,
    /// Name of a codec, or of a chain of codecs.
    pub key_codec: Option<&'static str>,
    /// Name of a codec, or of a chain of codecs.
    pub value_codec: Option<&'static str>,
    /// Creates the value of a missing key, a boxed `V`, if it is not `V::default()`.
    pub default: Option<fn() -> Box<dyn Any + Send>>,
    /// `true` if keys belong to the partition of the source, even if the partitioner would put them elsewhere.
    pub partition_by_source: bool,
    /// Time that selects the window of a plain read.
    pub relative_to: RelativeTo,
}

impl TableDecl {
    /// Creates a declaration with defaults only.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            name: None,
            window: None,
            changelog_topic: None,
            help: "",
            key_codec: None,
            value_codec: None,
            default: None,
            partition_by_source: false,
            relative_to: RelativeTo::Stream,
        }
    }
}

impl Default for TableDecl {
    fn default() -> Self {
        Self::new()
    }
}

/// The time that selects the window of a plain read of a windowed table.
#[derive(Clone, Copy, Debug)]
pub enum RelativeTo {
    /// Timestamp of the current event.
    Stream,
    /// Time of the wall clock.
    Now,
    /// A field of the current event; `None` if the event has another type or the field holds no time.
    Field(fn(&dyn Any) -> Option<Timestamp>),
}
