//! The two guarantees, each with its law.

use clap::ValueEnum;

/// The guarantee under which the workers ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Guarantee {
    /// Every output is there once, in order, and every table is exact.
    ExactlyOnce,
    /// No output is missing, repeated ones begin again at an earlier event, and the tables of agents that read the input
    /// directly are exact.
    AtLeastOnce,
}

impl Guarantee {
    /// Returns the value of the setting `processing_guarantee`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ExactlyOnce => "exactly_once",
            Self::AtLeastOnce => "at_least_once",
        }
    }
}
