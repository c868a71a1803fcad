//! The options of a worker beyond its settings.

use std::sync::Arc;
use std::time::Duration;

use crate::task::progress::RestoreListener;

/// How a worker runs, beyond its settings.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WorkerOptions {
    /// End by itself when every partition has been read to its end and nothing happened for this long.
    pub until_idle: Option<Duration>,
    /// Who hears how tables are restored, instead of the log.
    pub(super) restore_listener: Option<SharedListener>,
}

/// A listener that can be shown as part of its options.
#[derive(Clone)]
pub(super) struct SharedListener(pub(super) Arc<dyn RestoreListener>);

impl std::fmt::Debug for SharedListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RestoreListener")
    }
}

impl WorkerOptions {
    /// Ends when everything has been read and nothing came for `quiet`.
    #[must_use]
    pub fn until_idle(mut self, quiet: Duration) -> Self {
        self.until_idle = Some(quiet);
        self
    }

    /// Tells this listener how tables are restored, instead of the log.
    #[must_use]
    pub fn restore_listener(mut self, listener: Arc<dyn RestoreListener>) -> Self {
        self.restore_listener = Some(SharedListener(listener));
        self
    }
}
