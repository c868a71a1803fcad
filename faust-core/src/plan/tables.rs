//! The tables of a plan: which agents share which, and which hooks belong to them.

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
    /// The table's name.
    pub fn name(&self) -> &str {
        &self.factory.info().name
    }

    /// The Rust type of its keys.
    pub fn key_type(&self) -> &str {
        self.factory.info().key_type
    }

    /// The Rust type of its values.
    pub fn value_type(&self) -> &str {
        self.factory.info().value_type
    }

    /// Its windows, if it has any.
    pub fn window(&self) -> Option<WindowSpec> {
        self.factory.info().window
    }

    /// What its declaration says it is for.
    pub fn help(&self) -> &str {
        self.factory.info().help
    }

    /// The topic that keeps it.
    pub fn changelog(&self) -> &str {
        &self.factory.info().changelog
    }

    /// The agents that use it.
    pub fn agents(&self) -> &[String] {
        &self.agents
    }

    /// The functions that hear of its windows: their names.
    pub fn hooks(&self) -> impl Iterator<Item = &str> {
        self.hooks.iter().map(|hook| hook.name)
    }
}

impl std::fmt::Debug for TablePlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TablePlan").field("name", &self.name()).field("agents", &self.agents).finish_non_exhaustive()
    }
}
