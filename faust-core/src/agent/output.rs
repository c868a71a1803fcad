//! The result of an agent or a hook.

use crate::error::BoxError;

/// A type that agents and hooks may return.
#[diagnostic::on_unimplemented(
    message = "agents and hooks cannot return `{Self}`",
    note = "return `()` or `Result<(), E>`, where `E` is any error that `?` can turn into a boxed one"
)]
pub trait AgentOutput {
    /// Converts the value into success or failure.
    fn into_result(self) -> Result<(), BoxError>;
}

impl AgentOutput for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError>> AgentOutput for Result<(), E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}

/// Converts an agent's return value into success or failure.
#[doc(hidden)]
pub fn output<R: AgentOutput>(returned: R) -> Result<(), BoxError> {
    returned.into_result()
}
