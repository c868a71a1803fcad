//! The binding of a topic's or a table's handle: planned, live in a stage, or detached in a unit test.

use std::sync::Arc;

use super::recorder::PlanRecorder;

/// The target of a handle's operations: `L` is the target in a running stage, `D` that of a detached handle.
pub(crate) enum Binding<L, D> {
    /// The agent is being planned: declarations are recorded, and using the handle is an error.
    Planning(Arc<PlanRecorder>),
    /// The handle belongs to a running stage.
    Live(L),
    /// The handle is used without a stage, as in a unit test.
    Detached(D),
}

impl<L: Clone, D: Clone> Clone for Binding<L, D> {
    fn clone(&self) -> Self {
        match self {
            Self::Planning(recorder) => Self::Planning(Arc::clone(recorder)),
            Self::Live(live) => Self::Live(live.clone()),
            Self::Detached(detached) => Self::Detached(detached.clone()),
        }
    }
}
