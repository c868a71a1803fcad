//! The result of a check.

use std::fmt;

use serde::Serialize;

/// The result of a check: one line of the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) state: CheckState,
    /// The subject of the check, such as `topics`.
    pub(super) check: &'static str,
    /// The finding, followed by the fix if there is something to mend.
    pub(super) text: String,
}

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CheckState {
    /// Nothing has to be done.
    Ok,
    /// The app works, but may stop or lose something later.
    Warn,
    /// The app does not work.
    Fail,
}

impl Check {
    pub(super) fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self { state: CheckState::Ok, check, text: text.into() }
    }

    pub(super) fn warn(check: &'static str, text: impl Into<String>) -> Self {
        Self { state: CheckState::Warn, check, text: text.into() }
    }

    pub(super) fn fail(check: &'static str, text: impl Into<String>) -> Self {
        Self { state: CheckState::Fail, check, text: text.into() }
    }
}

/// Formats the check as one line: a fault of several lines is joined.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            CheckState::Ok => "ok",
            CheckState::Warn => "warn",
            CheckState::Fail => "fail",
        };
        let text: Vec<&str> = self.text.lines().map(str::trim).collect();
        write!(f, "{state:<5} {:<12} {}", self.check, text.join(" "))
    }
}
