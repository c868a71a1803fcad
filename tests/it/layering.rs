//! The order of modules: imports point one way, between the modules of a crate and inside every folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::sources::{CRATES, Source, paths, root, sources};

/// The modules of `faust-core` in one total order: each imports only from those before it.
const ORDER: [&str; 27] = [
    // Plain values.
    "time",
    "message",
    "offsets",
    "partitioner",
    "stats",
    "error",
    // Plain declarations and rules.
    "aggregate",
    "window",
    "declare",
    // Settings and byte formats.
    "config",
    "codec",
    // The ports and their adapters.
    "transport",
    "store",
    // A table's partition.
    "table_state",
    // This machine's disk and ports.
    "local",
    // A running stage.
    "stage",
    // The handles of an agent's function.
    "topic",
    "stream",
    "table",
    // Definitions of agents.
    "agent",
    // Which stages run on which partitions.
    "plan",
    "directory",
    // One partition.
    "task",
    // One process.
    "worker",
    // Entry points.
    "client",
    "app",
    "testing",
];

/// The module tree of a crate, with the imports of each module.
struct Tree {
    name: &'static str,
    /// Imports by module; the root is left out.
    imports: BTreeMap<Vec<String>, BTreeSet<Vec<String>>>,
    /// The `mod` lines of each module, in order; of the root too.
    children: BTreeMap<Vec<String>, Vec<String>>,
}

impl Tree {
    fn of(name: &'static str) -> Self {
        let folder = Path::new(name).join("src");
        let mut tree = Self { name, imports: BTreeMap::new(), children: BTreeMap::new() };
        for source in sources(&[folder.to_str().unwrap()]).iter().filter(|source| !source.is_test()) {
            let module = source.module(&folder);
            let is_root = module == ["lib"];
            let module = if is_root { Vec::new() } else { module };
            tree.children.insert(module.clone(), declared_modules(source));
            if !is_root {
                let imports = paths(&source.tokens(), &module).into_iter().collect();
                tree.imports.insert(module, imports);
            }
        }
        tree
    }

    /// Cuts a path at the last module in it.
    fn module_in<'a>(&self, path: &'a [String]) -> &'a [String] {
        (0..=path.len()).rev().map(|end| &path[..end]).find(|start| self.children.contains_key(*start)).unwrap_or(&[])
    }

    /// Every import between the children of one folder: importer, imported, and the file that does it.
    fn between(&self, folder: &[String]) -> Vec<(String, String, String)> {
        let mut found = Vec::new();
        for (module, imports) in self.imports.iter().filter(|(module, _)| module.starts_with(folder)) {
            let Some(own) = module.get(folder.len()) else { continue };
            for import in imports {
                let target = self.module_in(import);
                if let Some(other) =
                    target.get(folder.len()).filter(|other| target.starts_with(folder) && *other != own)
                {
                    found.push((own.clone(), other.clone(), module.join("/")));
                }
            }
        }
        found
    }
}

/// The names of `mod a;` lines, in order.
fn declared_modules(source: &Source) -> Vec<String> {
    let lines = source.text.lines().filter(|line| !line.starts_with(' '));
    let name = |line: &str| {
        let (_, rest) = line.split_once("mod ").filter(|(start, _)| start.is_empty() || start.starts_with("pub"))?;
        rest.strip_suffix(';').map(str::to_owned)
    };
    lines.filter_map(name).filter(|name| name != "tests").collect()
}

#[test]
fn the_modules_of_the_core_are_declared_in_their_order() {
    assert_eq!(Tree::of("faust-core").children[&Vec::new()], ORDER);
}

#[test]
fn architecture_shows_the_same_order() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, block) =
        text.split_once("```text\ntime ").expect("ARCHITECTURE shows the module order in a block of its own");
    let (block, _) = block.split_once("```").unwrap();
    let shown = block.lines().flat_map(|line| line.split("  ").next().unwrap_or_default().split_whitespace());
    let shown: Vec<_> = std::iter::once("time").chain(shown).collect();
    assert_eq!(shown, ORDER);
}

/// In every folder of the core, as at its top: a module imports only from its siblings that are declared before it.
#[test]
fn imports_of_the_core_point_one_way() {
    let tree = Tree::of("faust-core");
    let mut faults = Vec::new();
    for (folder, children) in &tree.children {
        let place = |name: &str| children.iter().position(|child| child == name);
        for (own, other, file) in tree.between(folder) {
            if place(&other) > place(&own) {
                faults.push(format!("{file}.rs: `{own}` imports `{other}`, which is declared after it"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A parent imports its children: what children share is a child of its own.
#[test]
fn no_module_of_the_core_imports_its_parent() {
    let tree = Tree::of("faust-core");
    let mut faults = Vec::new();
    for (module, imports) in &tree.imports {
        for import in imports {
            let target = tree.module_in(import);
            if target.len() < module.len() && module.starts_with(target) && import.len() > target.len() {
                // A module inside the file itself, such as `mod sealed`, is no file.
                let is_own = import.get(target.len()).is_some_and(|name| name == &module[target.len()]);
                if !is_own {
                    faults.push(format!("{}.rs imports `crate::{}`", module.join("/"), import.join("::")));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// `x.rs` beside a folder `x` holds its documentation, its modules, its re-exports, and at most the function that selects
/// an adapter.
#[test]
fn a_folder_s_root_defines_nothing() {
    let mut faults = Vec::new();
    for source in sources(&["faust-core/src"]).iter().filter(|source| !declared_modules(source).is_empty()) {
        if source.path.ends_with("lib.rs") {
            continue;
        }
        for line in source.text.lines() {
            let code = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
            if ["struct ", "enum ", "trait ", "impl", "const ", "static ", "type "]
                .iter()
                .any(|item| code.starts_with(item))
            {
                faults.push(format!("{}: {line}", source.path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_crate_has_a_cycle_between_its_modules() {
    for name in CRATES {
        let tree = Tree::of(name);
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (own, other, _) in tree.between(&[]) {
            edges.entry(own).or_default().insert(other);
        }
        // Modules that import nothing of the rest are taken away until none is left, or the rest is a cycle.
        let mut rest: BTreeSet<String> = edges.keys().cloned().collect();
        loop {
            let before = rest.len();
            let is_free = |module: &String| edges[module].is_disjoint(&rest);
            let free: Vec<_> = rest.iter().filter(|module| is_free(module)).cloned().collect();
            rest.retain(|module| !free.contains(module));
            if rest.len() == before {
                break;
            }
        }
        assert!(rest.is_empty(), "{}: these modules import each other in a circle: {rest:?}", tree.name);
    }
}

#[test]
fn only_the_kafka_adapter_names_rdkafka_and_only_three_modules_host_the_broker() {
    let names =
        |text: &str, word: &str| text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word));
    let folders = ["src", "faust-core/src", "faust-cli/src", "faust-macros/src", "faust-broker/src"];
    for source in sources(&folders).iter().filter(|source| !source.is_test()) {
        let shown = source.path.to_string_lossy();
        let is_adapter = shown.starts_with("faust-core/src/transport/kafka");
        assert!(is_adapter || !names(&source.text, "rdkafka::"), "{shown} names rdkafka");
        let may_host =
            ["faust-broker", "faust-core/src/local", "faust-core/src/transport/memory", "faust-core/src/testing"];
        let is_host = may_host.iter().any(|start| shown.starts_with(start));
        assert!(is_host || !names(&source.text, "faust_broker::"), "{shown} names the broker");
    }
}

#[test]
fn macros_know_no_crate_of_the_workspace_and_the_broker_none_of_the_framework() {
    for source in sources(&["faust-macros/src", "faust-broker/src"]) {
        for line in source.text.lines().filter(|line| line.starts_with("use ") || line.starts_with("pub use ")) {
            assert!(!line.contains("faust_core") && !line.contains("faust_cli"), "{}: {line}", source.path.display());
        }
    }
}

#[test]
fn only_the_output_of_the_command_line_prints() {
    for source in sources(&["faust-core/src", "faust-cli/src", "faust-broker/src", "faust-macros/src"]) {
        // The second one prints how a program of one's own shows the log of its worker, the third one a failing test's timeline.
        let may_print =
            ["faust-cli/src/output.rs", "faust-core/src/worker/unseen_log.rs", "faust-core/src/testing/timeline.rs"];
        if source.is_test() || may_print.iter().any(|path| source.path.ends_with(path)) {
            continue;
        }
        let (code, _) = source.text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((&source.text, ""));
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let prints = ["println!(", "print!(", "eprintln!(", "eprint!(", "io::stdout()"];
            let printed = prints.iter().find(|call| line.contains(*call));
            assert!(printed.is_none(), "{}: {}", source.path.display(), line.trim());
        }
    }
}
