//! The origin of a stream's events.

use crate::error::Error;
use crate::stage::context::StageMode;

/// Where a stream's messages come from.
#[derive(Clone)]
pub(crate) enum StreamOrigin {
    /// An agent of a planning run or of a partition task.
    Agent(StageMode),
    /// Values given by a test.
    Detached,
}

impl StreamOrigin {
    /// The stage has failed; a detached stream has nobody to tell, so its test hears of it.
    pub(crate) fn fail(&self, error: Error) {
        match self {
            Self::Agent(StageMode::Live(stage)) => stage.cursor.gate.fail(error),
            Self::Agent(StageMode::Planning(recorder)) => recorder.fault(error.to_string()),
            Self::Detached => tracing::error!("{error}"),
        }
    }
}
