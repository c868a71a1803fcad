//! The two kinds of processes that can host an embedded broker.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of process that hosts an embedded broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HostKind {
    /// A worker. When it drains, its broker and the other workers shut down.
    Worker,
    /// The command `broker`, which outlives the workers. If it stops, they wait for it to restart.
    Broker,
}

impl fmt::Display for HostKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Worker => "worker",
            Self::Broker => "broker",
        })
    }
}
