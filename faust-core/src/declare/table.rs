//! The declaration of a table, as `#[table(..)]` makes it.

use std::any::Any;

use super::window::WindowDecl;
use crate::time::Timestamp;

/// What `#[table(..)]` says; what it does not say is left to the engine and the settings.
#[derive(Clone, Copy, Debug)]
pub struct TableDecl {
    /// Its name, when it is not the argument's.
    pub name: Option<&'static str>,
    /// For a windowed table, its windows.
    pub window: Option<WindowDecl>,
    /// The changelog's name, when it is not `<app>-<table>-changelog`.
    pub changelog_topic: Option<&'static str>,
    /// What the table is for, in a line; may be empty.
    pub help: &'static str,
    /// A codec's name or a chain of them.
    pub key_codec: Option<&'static str>,
    /// A codec's name or a chain of them.
    pub value_codec: Option<&'static str>,
    /// Makes what a missing key reads as: a boxed `V`, when it is not `V::default()`.
    pub default: Option<fn() -> Box<dyn Any + Send>>,
    /// Whether keys are meant to lie where the source has them, wherever the partitioner would put them.
    pub partition_by_source: bool,
    /// Which time chooses the window of a plain read.
    pub relative_to: RelativeTo,
}

impl TableDecl {
    /// A table with everything by default.
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

/// Which time chooses the window of a plain read of a windowed table.
#[derive(Clone, Copy, Debug)]
pub enum RelativeTo {
    /// The time of the event at hand.
    Stream,
    /// The wall clock.
    Now,
    /// A field of the event at hand; `None` where it is of another type or holds no time.
    Field(fn(&dyn Any) -> Option<Timestamp>),
}
