//! The origin of a stream's events.

use crate::error::Error;
use crate::stage::context::Run;

/// Where a stream's messages come from.
#[derive(Clone)]
pub(crate) enum Origin {
    /// An agent of a planning run or of a partition task.
    Agent(Run),
    /// Values given by a test.
    Detached,
}

impl Origin {
    /// The stage has failed; a detached stream has nobody to tell, so its test hears of it.
    pub(crate) fn fail(&self, error: Error) {
        match self {
            Self::Agent(Run::Live(stage)) => stage.cursor.fail(error),
            Self::Agent(Run::Planning(sketch)) => sketch.fault(error.to_string()),
            Self::Detached => tracing::error!("{error}"),
        }
    }
}
