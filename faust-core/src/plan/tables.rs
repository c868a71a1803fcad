//! The tables of a plan, each with the agents that share it and its hooks.

use std::sync::Arc;

use crate::stage::HookDef;
use crate::table_state::TableFactory;
use crate::window::WindowSpec;

/// A table of an app.
#[derive(Clone)]
pub struct TablePlan {
    pub(crate) factory: Arc<dyn TableFactory>,
    pub(super) agents: Vec<String>,
    pub(super) hooks: Vec<HookDef>,
}

impl TablePlan {
    /// Returns the table's name.
    pub fn name(&self) -> &str {
        &self.factory.info().name
    }

    /// Returns the name of the Rust type of its keys.
    pub fn key_type(&self) -> &str {
        self.factory.info().key_type
    }

    /// Returns the name of the Rust type of its values.
    pub fn value_type(&self) -> &str {
        self.factory.info().value_type
    }

    /// Returns the table's windows; `None` for a table without windows.
    pub fn window(&self) -> Option<WindowSpec> {
        self.factory.info().window
    }

    /// Returns the help text of its declaration.
    pub fn help(&self) -> &str {
        self.factory.info().help
    }

    /// Returns the name of its changelog topic.
    pub fn changelog(&self) -> &str {
        &self.factory.info().changelog
    }

    /// Returns the names of the agents that use it.
    pub fn agents(&self) -> &[String] {
        &self.agents
    }

    /// Returns the names of its hooks: the functions of `#[window_close]` and `#[window_late]`.
    pub fn hooks(&self) -> impl Iterator<Item = &str> {
        self.hooks.iter().map(|hook| hook.name)
    }
}

impl std::fmt::Debug for TablePlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TablePlan").field("name", &self.name()).field("agents", &self.agents).finish_non_exhaustive()
    }
}
