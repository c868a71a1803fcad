//! The shape of the source: which way imports point, what each file begins with, how long it may be, who prints.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The modules of faust-core by layer: each may import from its own and from those before it.
const LAYERS: [(&str, &[&str]); 4] = [
    (
        "pure",
        &[
            "error",
            "time",
            "offsets",
            "message",
            "delivery",
            "codec",
            "record",
            "config",
            "stats",
            "partitioner",
            "window",
            "aggregate",
        ],
    ),
    ("port", &["transport", "store"]),
    (
        "streams",
        &["stream", "topic", "table", "changelog", "recovery", "agent", "plan", "partition", "registry", "embedded"],
    ),
    ("app", &["worker", "app", "client", "leftovers", "testing"]),
];

/// Imports against the layers that are meant, each with its reason.
const EXCEPTIONS: [(&str, &str); 3] = [
    // The one error type holds the transport's, and counters of messages hear of it.
    ("error", "transport"),
    ("delivery", "transport"),
    // `Settings` speak of what the adapter of the port understands.
    ("config", "transport"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file of the workspace below these folders, with its text.
fn sources(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let mut waiting: Vec<_> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut files = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push((path.strip_prefix(root()).unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(!files.is_empty(), "{folders:?} hold no sources");
    files.sort();
    files
}

fn all_sources() -> Vec<(PathBuf, String)> {
    let crates = ["src", "examples", "tests", "bench", "faust-core", "faust-macros", "faust-cli", "faust-broker"];
    sources(&crates.into_iter().filter(|folder| root().join(folder).exists()).collect::<Vec<_>>())
}

/// The part of a file that is compiled into the library.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap_or_default()
}

/// The first names after `crate::`, in code.
fn imports(text: &str) -> BTreeSet<String> {
    let lines = without_tests(text).lines().filter(|line| !line.trim_start().starts_with("//"));
    let after = |line: &str| -> Vec<String> {
        let names = line.match_indices("crate::").filter(|(at, _)| !line[..*at].ends_with('$'));
        let name = |(at, found): (usize, &str)| {
            let rest = &line[at + found.len()..];
            rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
        };
        names.map(name).collect()
    };
    lines.flat_map(after).filter(|name| !name.is_empty()).collect()
}

#[test]
fn imports_of_the_core_point_one_way() {
    let layer = |module: &str| LAYERS.iter().position(|(_, modules)| modules.contains(&module));
    let mut faults = Vec::new();
    for (path, text) in sources(&["faust-core/src"]) {
        let inside = path.strip_prefix("faust-core/src").unwrap();
        let module = inside.components().next().unwrap().as_os_str().to_string_lossy();
        let module = module.trim_end_matches(".rs");
        // Tests may stand on anything; the root names everything; the adapters are what the port is for.
        if module == "lib" || inside.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests")) {
            continue;
        }
        let Some(own) = layer(module) else {
            faults.push(format!("module `{module}` stands in no layer: add it in {}", file!()));
            continue;
        };
        for import in imports(&text) {
            let excepted = EXCEPTIONS.contains(&(module, &*import));
            if layer(&import).is_some_and(|other| other > own) && !excepted {
                let (from, to) = (LAYERS[own].0, LAYERS[layer(&import).unwrap()].0);
                faults.push(format!("{}: `{module}` ({from}) imports `{import}` ({to})", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn only_the_kafka_adapter_names_rdkafka_and_only_the_broker_s_door_opens_it() {
    let names = |text: &str, word: &str| {
        without_tests(text).lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word))
    };
    for (path, text) in sources(&["src", "faust-core/src", "faust-cli/src", "faust-macros/src", "faust-broker/src"]) {
        let shown = path.to_string_lossy();
        if shown.contains("/tests") {
            continue;
        }
        let is_adapter = shown.starts_with("faust-core/src/transport/kafka");
        assert!(is_adapter || !names(&text, "rdkafka::"), "{shown} names rdkafka");
        let may_host = ["faust-core/src/embedded", "faust-core/src/transport/memory", "faust-core/src/testing"];
        let is_host = shown.starts_with("faust-broker") || may_host.iter().any(|start| shown.starts_with(start));
        assert!(is_host || !names(&text, "faust_broker::"), "{shown} names the broker");
    }
}

#[test]
fn macros_know_no_crate_of_the_workspace_and_the_broker_none_of_the_framework() {
    for (path, text) in sources(&["faust-macros/src", "faust-broker/src"]) {
        for line in without_tests(&text).lines().filter(|line| line.starts_with("use ") || line.starts_with("pub use "))
        {
            assert!(!line.contains("faust_core") && !line.contains("faust_cli"), "{}: {line}", path.display());
        }
    }
}

#[test]
fn every_file_says_first_what_it_is_for_and_is_about_one_thing() {
    for (path, text) in all_sources() {
        let shown = path.display();
        // What the compiler is to say about a file, or what a macro is to make of it, is no source.
        let is_expected = shown.to_string().contains("tests/golden");
        assert!(is_expected || text.starts_with("//! "), "{shown} does not begin with what it is for");
        let lines = text.lines().count();
        assert!(lines <= 600, "{shown} has {lines} lines: it is about more than one thing");
        assert!(path.file_name().unwrap() != "mod.rs", "{shown}: name it after its folder");
    }
}

#[test]
fn only_the_output_of_the_command_line_prints() {
    for (path, text) in sources(&["faust-core/src", "faust-cli/src", "faust-broker/src", "faust-macros/src"]) {
        if path.ends_with("faust-cli/src/output.rs") {
            continue;
        }
        let code = without_tests(&text).lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            let prints = ["println!(", "print!(", "eprintln!(", "eprint!(", "io::stdout()"];
            let printed = prints.iter().find(|call| line.contains(*call));
            assert!(printed.is_none(), "{}: {}", path.display(), line.trim());
        }
    }
}
