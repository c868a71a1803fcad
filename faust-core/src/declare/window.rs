//! The declaration of a table's windows.

use crate::error::Error;
use crate::window::WindowSpec;

/// The windows of a table. Every kind is declared by the constructor of its [`WindowSpec`], so that a new kind changes
/// nothing here.
#[derive(Clone, Copy, Debug)]
pub enum WindowDecl {
    /// Windows that are created when the app is planned: constructors of windows are not constant functions, because
    /// their errors contain formatted values.
    New(fn() -> Result<WindowSpec, Error>),
    /// Windows that exist already.
    Of(WindowSpec),
}

impl WindowDecl {
    /// Returns the declared windows.
    ///
    /// # Errors
    /// Returns the reason and the fix if the windows are invalid.
    pub(crate) fn spec(self) -> Result<WindowSpec, Error> {
        match self {
            Self::New(create) => create(),
            Self::Of(spec) => Ok(spec),
        }
    }
}
