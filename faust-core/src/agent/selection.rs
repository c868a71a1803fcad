//! Selection of an app's agents and hooks: those that are linked, and those that the app names.

use super::def::AgentDef;
use super::registry::AgentEntry;
use crate::stage::HookDef;

/// The part of the linked agents that belongs to an app without being named.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Discovery {
    /// Every agent.
    #[default]
    All,
    /// The agents of one module and its submodules.
    Module(&'static str),
    /// No agent.
    Off,
}

/// The agents and hooks that an app names, and the discovery of others. The order of the calls does not matter.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    discovery: Discovery,
    /// Agents as they are defined.
    plain: Vec<AgentDef>,
    /// Agents with changes. They replace the plain agent of their definition.
    variants: Vec<AgentEntry>,
    hooks: Vec<HookDef>,
}

/// A hook of an app.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HookEntry {
    pub(crate) def: HookDef,
    /// If no agent takes the hook's table, a required hook is a fault of the app, and another one is left out.
    pub(crate) required: bool,
}

impl Selection {
    /// Adds an agent as it is defined.
    pub(crate) fn agent(&mut self, def: AgentDef) {
        self.plain.push(def);
    }

    /// Adds an agent as it is defined, and turns the discovery of agents off.
    pub(crate) fn only(&mut self, def: AgentDef) {
        self.discovery = Discovery::Off;
        self.agent(def);
    }

    /// Adds an agent with changes.
    pub(crate) fn variant(&mut self, entry: AgentEntry) {
        self.variants.push(entry);
    }

    /// Adds a hook.
    pub(crate) fn hook(&mut self, def: HookDef) {
        self.hooks.push(def);
    }

    /// Limits discovery to a module and its submodules, unless it is off.
    pub(crate) fn discover_in(&mut self, module: &'static str) {
        if self.discovery != Discovery::Off {
            self.discovery = Discovery::Module(module);
        }
    }

    /// Returns the agents, and the hooks in an order that does not depend on the linker.
    pub(crate) fn select(self) -> (Vec<AgentEntry>, Vec<HookEntry>) {
        let agents = inventory::iter::<AgentDef>.into_iter().copied().collect();
        let hooks = inventory::iter::<HookDef>.into_iter().copied().collect();
        self.select_from(agents, hooks)
    }

    /// Selects from the given linked agents and hooks.
    fn select_from(self, linked: Vec<AgentDef>, linked_hooks: Vec<HookDef>) -> (Vec<AgentEntry>, Vec<HookEntry>) {
        let Self { discovery, plain, variants, hooks } = self;
        let mut agents = linked;
        agents.retain(|def| match discovery {
            Discovery::All => true,
            Discovery::Module(module) => is_in(def.module, module),
            Discovery::Off => false,
        });
        for def in plain {
            if !agents.iter().any(|known| is_same_agent(known, &def)) {
                agents.push(def);
            }
        }
        agents.retain(|def| !variants.iter().any(|variant| is_same_agent(&variant.def, def)));
        let agents: Vec<_> = agents.into_iter().map(AgentEntry::new).chain(variants).collect();
        let hooks = select_hooks(discovery, &agents, hooks, linked_hooks);
        (agents, hooks)
    }
}

fn select_hooks(
    discovery: Discovery,
    agents: &[AgentEntry],
    named: Vec<HookDef>,
    linked: Vec<HookDef>,
) -> Vec<HookEntry> {
    let is_found = |hook: &HookDef| match discovery {
        Discovery::All => true,
        Discovery::Module(module) => is_in(hook.module, module),
        Discovery::Off => agents.iter().any(|agent| is_in(hook.module, agent.def.module)),
    };
    let mut hooks: Vec<HookEntry> = Vec::new();
    for def in named {
        if !hooks.iter().any(|known| is_same_hook(&known.def, &def)) {
            hooks.push(HookEntry { def, required: true });
        }
    }
    let named = hooks.len();
    for def in linked.into_iter().filter(is_found) {
        let is_replaced = hooks[..named].iter().any(|hook| (hook.def.table, hook.def.kind) == (def.table, def.kind));
        if !is_replaced {
            hooks.push(HookEntry { def, required: discovery != Discovery::Off });
        }
    }
    hooks.sort_by_key(|HookEntry { def, .. }| (def.table, def.name, def.file, def.line));
    hooks
}

/// Returns `true` if both are the definition of one function.
fn is_same_agent(a: &AgentDef, b: &AgentDef) -> bool {
    (a.name, a.module, a.file, a.line) == (b.name, b.module, b.file, b.line)
}

/// Returns `true` if both are the definition of one function.
fn is_same_hook(a: &HookDef, b: &HookDef) -> bool {
    (a.table, a.kind, a.name, a.module, a.file, a.line) == (b.table, b.kind, b.name, b.module, b.file, b.line)
}

/// Returns `true` if the module `own` is `module` or one of its submodules.
fn is_in(own: &str, module: &str) -> bool {
    own.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::agent::check;
    use crate::stage::HookKind;

    const fn agent(name: &'static str, module: &'static str, line: u32) -> AgentDef {
        let def = AgentDef::new(name, &["clicks"], |_| Ok(Box::pin(async { Ok(()) })));
        AgentDef { module, file: "src/agents.rs", line, ..def }
    }

    const COUNT: AgentDef = agent("count", "shop::pages", 1);
    const ALERT: AgentDef = agent("alert", "shop::pages::alerts", 2);
    const PAY: AgentDef = agent("pay", "shop::pages_of_others", 3);
    const AUDIT: AgentDef = agent("audit", "audit", 4);
    /// An agent that a program defines without registering it.
    const BESIDE: AgentDef = agent("beside", "shop", 5);

    const fn hook(name: &'static str, module: &'static str, table: &'static str, kind: HookKind) -> HookDef {
        HookDef {
            kind,
            table,
            name,
            help: "",
            module,
            file: "src/hooks.rs",
            line: 1,
            start: |_| Ok(Arc::new(|_| Box::pin(async { Ok(()) }))),
        }
    }

    const CLOSED: HookDef = hook("closed", "shop::pages", "views", HookKind::Close);
    const LATE: HookDef = hook("late", "shop::pages::alerts", "views", HookKind::Late);
    const ABOVE: HookDef = hook("above", "shop", "sums", HookKind::Close);
    const AUDITED: HookDef = hook("audited", "audit", "audits", HookKind::Close);
    /// A hook for the table and kind of [`CLOSED`].
    const OTHER: HookDef = hook("other", "audit", "views", HookKind::Close);

    /// The names of the selected agents, and of the hooks with `?` behind those that are not required.
    fn selected(change: impl FnOnce(&mut Selection)) -> (Vec<String>, Vec<String>) {
        let mut selection = Selection::default();
        change(&mut selection);
        // In an order that no linker has to keep.
        let linked = vec![PAY, COUNT, AUDIT, ALERT];
        let (agents, hooks) = selection.select_from(linked, vec![LATE, AUDITED, CLOSED, ABOVE]);
        let mut names: Vec<_> = agents.iter().map(|agent| agent.name.to_string()).collect();
        names.sort();
        let hook = |hook: &HookEntry| format!("{}{}", hook.def.name, if hook.required { "" } else { "?" });
        (names, hooks.iter().map(hook).collect())
    }

    fn check_agents(change: impl FnOnce(&mut Selection), expected: &[&str]) {
        assert_eq!(selected(change).0, expected);
    }

    fn check_hooks(change: impl FnOnce(&mut Selection), expected: &[&str]) {
        assert_eq!(selected(change).1, expected);
    }

    fn renamed(def: AgentDef, name: &'static str) -> AgentEntry {
        AgentEntry::new(def).with(|agent| agent.name(name))
    }

    #[test]
    fn an_app_has_every_linked_agent_and_hook() {
        check_agents(|_| {}, &["alert", "audit", "count", "pay"]);
        check_hooks(|_| {}, &["audited", "above", "closed", "late"]);
    }

    #[test]
    fn only_replaces_discovery_by_the_named_agents() {
        check_agents(|app| app.only(COUNT), &["count"]);
        let twice = |app: &mut Selection| {
            app.only(COUNT);
            app.only(PAY);
        };
        check_agents(twice, &["count", "pay"]);
        let with_another = |app: &mut Selection| {
            app.agent(BESIDE);
            app.only(COUNT);
        };
        check_agents(with_another, &["beside", "count"]);
    }

    #[test]
    fn an_agent_that_is_named_again_is_the_same_agent() {
        check_agents(|app| app.agent(COUNT), &["alert", "audit", "count", "pay"]);
        let three_times = |app: &mut Selection| {
            app.agent(COUNT);
            app.only(COUNT);
            app.only(COUNT);
        };
        check_agents(three_times, &["count"]);
    }

    #[test]
    fn an_agent_that_is_not_linked_joins_the_discovered_ones() {
        check_agents(|app| app.agent(BESIDE), &["alert", "audit", "beside", "count", "pay"]);
    }

    #[test]
    fn another_agent_of_the_same_name_is_a_fault() {
        let faults = |twin| {
            let mut selection = Selection::default();
            selection.agent(twin);
            check(selection.select_from(vec![COUNT], Vec::new()).0).1
        };
        assert_eq!(
            faults(AgentDef { line: 9, ..COUNT }),
            [
                "2 agents are called `count`: at src/agents.rs:1 and src/agents.rs:9; rename all but one with `name = \"..\"`"
            ]
        );
        let linked_twice = faults(AgentDef { module: "program::pages", ..COUNT }).concat();
        let expected =
            "the agent `count` at src/agents.rs:1 is linked 2 times, in `program::pages` and `shop::pages`: its file";
        assert!(linked_twice.starts_with(expected), "{linked_twice}");
    }

    #[test]
    fn variants_replace_the_plain_agent_wherever_it_comes_from() {
        let variants = |app: &mut Selection| {
            app.variant(renamed(COUNT, "rome"));
            app.variant(renamed(COUNT, "oslo"));
        };
        check_agents(variants, &["alert", "audit", "oslo", "pay", "rome"]);
        let named_before_and_after = |app: &mut Selection| {
            app.only(COUNT);
            variants(app);
            app.agent(COUNT);
        };
        check_agents(named_before_and_after, &["oslo", "rome"]);
        let not_linked = |app: &mut Selection| app.variant(renamed(BESIDE, "oslo"));
        check_agents(not_linked, &["alert", "audit", "count", "oslo", "pay"]);
    }

    #[test]
    fn a_variant_without_changes_keeps_the_plain_agent() {
        let both = |app: &mut Selection| {
            app.only(COUNT);
            app.variant(AgentEntry::new(COUNT).with(|agent| agent));
            app.variant(renamed(COUNT, "oslo"));
        };
        check_agents(both, &["count", "oslo"]);
    }

    #[test]
    fn variants_of_one_name_are_a_fault() {
        let mut selection = Selection::default();
        selection.variant(AgentEntry::new(COUNT).with(|agent| agent.topic("rome")));
        selection.variant(AgentEntry::new(COUNT).with(|agent| agent.topic("oslo")));
        let (_, faults) = check(selection.select_from(vec![COUNT], Vec::new()).0);
        let expected = "2 variants of the agent at src/agents.rs:1 are called `count`; give each its own name: \
                        `.agent_with::<count>(|agent| agent.name(\"..\"))`";
        assert_eq!(faults, [expected]);
    }

    #[test]
    fn discovery_in_a_module_keeps_its_agents_and_hooks() {
        let module = |app: &mut Selection| app.discover_in("shop::pages");
        check_agents(module, &["alert", "count"]);
        check_hooks(module, &["closed", "late"]);
    }

    #[test]
    fn discovery_in_a_module_does_not_turn_discovery_on_again() {
        let before = |app: &mut Selection| {
            app.discover_in("shop");
            app.only(AUDIT);
        };
        let after = |app: &mut Selection| {
            app.only(AUDIT);
            app.discover_in("shop");
        };
        check_agents(before, &["audit"]);
        check_agents(after, &["audit"]);
        check_hooks(before, &["audited?"]);
        check_hooks(after, &["audited?"]);
    }

    #[test]
    fn only_keeps_the_hooks_of_its_agents_modules() {
        check_hooks(|app| app.only(COUNT), &["closed?", "late?"]);
        check_hooks(|app| app.only(ALERT), &["late?"]);
        check_hooks(|app| app.only(PAY), &[]);
        let with_a_variant = |app: &mut Selection| {
            app.only(AUDIT);
            app.variant(renamed(ALERT, "loud"));
        };
        check_hooks(with_a_variant, &["audited?", "late?"]);
    }

    #[test]
    fn a_named_hook_is_required_and_no_duplicate_of_itself() {
        check_hooks(|app| app.hook(CLOSED), &["audited", "above", "closed", "late"]);
        let only = |app: &mut Selection| {
            app.only(COUNT);
            app.hook(CLOSED);
            app.hook(CLOSED);
        };
        check_hooks(only, &["closed", "late?"]);
    }

    #[test]
    fn a_named_hook_replaces_the_discovered_one_of_its_table_and_kind() {
        check_hooks(|app| app.hook(OTHER), &["audited", "above", "late", "other"]);
        let only = |app: &mut Selection| {
            app.only(COUNT);
            app.hook(OTHER);
        };
        check_hooks(only, &["late?", "other"]);
        // Two that are named remain two, which the plan reports.
        let both = |app: &mut Selection| {
            app.hook(OTHER);
            app.hook(CLOSED);
        };
        check_hooks(both, &["audited", "above", "closed", "late", "other"]);
    }
}
