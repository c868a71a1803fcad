//! The origin of a setting's value.

use std::fmt;
use std::path::PathBuf;

/// A value given for a setting.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// The origin of a setting's value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// No layer gives a value.
    Default,
    /// The program itself.
    Builder,
    /// A settings file.
    File {
        /// Path of the file.
        path: PathBuf,
        /// Line of the value, counted from 1.
        line: usize,
    },
    /// The environment variable with this name.
    Environment(String),
    /// The command line.
    CommandLine,
}

impl Origin {
    /// Returns the name of the layer, without the place in it.
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
