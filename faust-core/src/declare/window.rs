//! The declaration of a table's windows.

use std::time::Duration;

use crate::error::Error;
use crate::time::millis;
use crate::window::WindowSpec;

/// Windows of one size that begin at multiples of a step; all in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowDecl {
    /// Size of a window; above zero.
    pub size_ms: i64,
    /// Distance between the starts of two windows: the size itself for tumbling windows, never more.
    pub step_ms: i64,
    /// Time after its end during which a window still accepts late events, if it is not the default.
    pub expires_ms: Option<i64>,
}

impl WindowDecl {
    /// Returns the declared windows.
    ///
    /// # Errors
    /// Returns the reason and the fix if the windows are invalid.
    pub(crate) fn spec(&self) -> Result<WindowSpec, Error> {
        let duration = |millis: i64| Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        let spec = WindowSpec::hopping(duration(self.size_ms), duration(self.step_ms))?;
        self.expires_ms.map_or(Ok(spec), |expires| spec.with_expires(duration(expires)))
    }

    /// Creates the declaration of these windows.
    pub(crate) fn of(spec: WindowSpec) -> Self {
        Self { size_ms: millis(spec.size()), step_ms: millis(spec.step()), expires_ms: Some(millis(spec.expires())) }
    }
}
