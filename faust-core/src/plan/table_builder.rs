//! Adds the tables of agents, and the hooks of windowed tables, to a plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::builder::PlanBuilder;
use super::model::TopicRole;
use super::tables::TablePlan;
use crate::codec::Role;
use crate::stage::recorder::Declared;
use crate::stage::{HookDef, HookKind};
use crate::table_state::TableFactory;

impl PlanBuilder<'_> {
    /// Adds the tables of an agent's last stage to the plan and returns their names.
    pub(super) fn tables(
        &mut self,
        agent: &str,
        reads: &[Arc<str>],
        tables: Vec<Arc<dyn TableFactory>>,
    ) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        for factory in tables {
            let info = factory.info().clone();
            if names.contains(&info.name) {
                // Two arguments of an agent may share one table. The check below compares their declarations.
            } else {
                names.push(Arc::clone(&info.name));
            }
            if let Some(known) = self.plan.tables.get_mut(&info.name) {
                if let Some(difference) = known.factory.info().differs_from(&info) {
                    let first = &known.factory.info().agent;
                    self.faults.push(format!(
                        "table `{}` is declared in agents `{first}` and `{agent}` with {difference}; make them the same, or name one of them with `#[table(name = \"..\")]`",
                        info.name
                    ));
                }
                if !known.agents.iter().any(|other| other == agent) {
                    known.agents.push(agent.to_owned());
                }
            } else {
                self.check_changelog(&info.name, &info.changelog);
                let plan = TablePlan { factory, agents: vec![agent.to_owned()], hooks: Vec::new() };
                self.plan.tables.insert(Arc::clone(&info.name), plan);
            }
            let topic = self.plan.topic(&info.changelog, TopicRole::Changelog);
            topic.follows = true;
            topic.like.extend(reads.iter().cloned());
        }
        names
    }

    fn check_changelog(&mut self, table: &str, changelog: &str) {
        let other = self.plan.tables.values().find(|other| other.changelog() == changelog);
        if let Some(other) = other {
            self.faults.push(format!(
                "tables `{}` and `{table}` both name `{changelog}` as their changelog; give each its own",
                other.name()
            ));
        }
    }

    /// Adds each hook to its table and to the stages that use the table.
    pub(super) fn hooks(&mut self, hooks: Vec<(HookDef, Declared)>) {
        let mut taken: BTreeMap<(&str, bool), HookDef> = BTreeMap::new();
        for (def, declared) in hooks {
            let place = format!("hook `{}` ({}:{})", def.name, def.file, def.line);
            let kind = (def.table, def.kind == HookKind::Close);
            if let Some(first) = taken.insert(kind, def) {
                let (what, at) = (attribute(def.kind), format!("{}:{}", first.file, first.line));
                self.faults.push(format!(
                    "{place}: table `{}` has another `#[{what}]`, `{}` at {at}; keep one",
                    def.table, first.name
                ));
                continue;
            }
            let Some(table) = self.plan.tables.get_mut(def.table) else {
                self.faults.push(format!(
                    "{place} is for table `{}`, which no agent uses; known tables: {}",
                    def.table,
                    self.known()
                ));
                continue;
            };
            if table.window().is_none() {
                self.faults.push(format!("{place} is for table `{}`, which has no windows", def.table));
                continue;
            }
            let info = table.factory.info();
            for (half, taken) in &declared.hook_parts {
                let (part, has) = match half {
                    Role::Key => ("keys", info.key_type),
                    Role::Value => ("values", info.value_type),
                };
                if has != *taken {
                    self.faults.push(format!(
                        "{place} takes {part} of table `{}` as `{taken}`, but the table has `{has}`; use that type",
                        def.table
                    ));
                }
            }
            table.hooks.push(def);
            for output in declared.outputs {
                let topic = self.plan.topic(&output.name, TopicRole::Output);
                topic.decl = topic.decl.or(output.decl);
                for stage in self.plan.stages.iter_mut().filter(|stage| stage.tables.iter().any(|t| **t == *def.table))
                {
                    if !stage.writes.contains(&output.name) {
                        stage.writes.push(output.name.clone());
                    }
                }
            }
            for stage in self.plan.stages.iter_mut().filter(|stage| stage.tables.iter().any(|t| **t == *def.table)) {
                stage.hooks.push(def);
            }
        }
    }

    fn known(&self) -> String {
        let names: Vec<_> = self.plan.tables.keys().map(|name| format!("`{name}`")).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

fn attribute(kind: HookKind) -> &'static str {
    match kind {
        HookKind::Close => "window_close",
        HookKind::Late => "window_late",
    }
}
