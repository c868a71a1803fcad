//! The options of a worker beyond its settings.

use std::sync::Arc;
use std::time::Duration;

use crate::task::progress::RestoreListener;

/// Options of a worker beyond its settings.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WorkerOptions {
    /// Idle time after which the worker ends by itself, once every partition has been read to its end.
    pub until_idle: Option<Duration>,
    /// Listener for the progress of restores, instead of the log.
    pub(super) restore_listener: Option<SharedListener>,
}

/// A listener with a `Debug` implementation.
#[derive(Clone)]
pub(super) struct SharedListener(pub(super) Arc<dyn RestoreListener>);

impl std::fmt::Debug for SharedListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RestoreListener")
    }
}

impl WorkerOptions {
    /// Ends the worker once every partition has been read to its end and no event has arrived for `quiet`.
    #[must_use]
    pub fn until_idle(mut self, quiet: Duration) -> Self {
        self.until_idle = Some(quiet);
        self
    }

    /// Reports the progress of restores to `listener` instead of the log.
    #[must_use]
    pub fn restore_listener(mut self, listener: Arc<dyn RestoreListener>) -> Self {
        self.restore_listener = Some(SharedListener(listener));
        self
    }
}
