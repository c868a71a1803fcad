//! The origin of a stream's events.

use crate::error::Error;
use crate::stage::context::StageMode;

/// The source of a stream's messages.
#[derive(Clone)]
pub(crate) enum StreamOrigin {
    /// An agent of a planning run or of a partition task.
    Agent(StageMode),
    /// Values given by a test.
    Detached,
}

impl StreamOrigin {
    /// Fails the stage. A detached stream has no stage, so its error is only logged.
    pub(crate) fn fail(&self, error: Error) {
        match self {
            Self::Agent(StageMode::Live(stage)) => stage.cursor.fail(error),
            Self::Agent(StageMode::Planning(recorder)) => recorder.fault(error.to_string()),
            Self::Detached => tracing::error!("{error}"),
        }
    }
}
