//! The origin of a setting's value.

use std::fmt;
use std::path::PathBuf;

/// One value for one setting.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// Where a setting's value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Nobody gave one.
    Default,
    /// The program's own code.
    Builder,
    /// A settings file.
    File {
        /// Which.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// An environment variable of this name.
    Environment(String),
    /// The command line.
    CommandLine,
}

impl Origin {
    /// The layer alone, without the place in it.
    pub fn layer(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Builder => "builder",
            Self::File { .. } => "file",
            Self::Environment(_) => "environment",
            Self::CommandLine => "command line",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            _ => f.write_str(self.layer()),
        }
    }
}
