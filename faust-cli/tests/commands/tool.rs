//! The program `faust`, whose commands need no app: `new` and `broker`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::harness::Running;

fn faust(directory: &Path, line: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faust"));
    command.args(line).current_dir(directory).env("FAUST_EMBEDDED_PORT", "0").env_remove("FAUST_BROKER");
    command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(directory: &Path, line: &[&str]) -> Output {
    faust(directory, line).output().unwrap()
}

/// Runs a command that must fail with this exit code, and returns its standard error.
fn fails(directory: &Path, code: i32, line: &[&str]) -> String {
    let output = run(directory, line);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{line:?}: {error}");
    error
}

/// Returns the clone that contains these tests.
fn clone() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/..")
}

#[test]
fn without_arguments_the_help_lists_the_commands_that_need_no_agents() {
    let directory = tempfile::tempdir().unwrap();
    let help = String::from_utf8(run(directory.path(), &[]).stdout).unwrap();
    assert!(help.contains("faust new") && help.contains("faust broker") && !help.contains("faust worker"), "{help}");
}

#[test]
fn new_creates_a_project_that_depends_on_the_clone() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), &["new", "my-shop", "--path", clone()]);
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && notes.contains("cd my-shop && cargo test"), "{notes}");
    let project = directory.path().join("my-shop");
    let read = |path: &str| std::fs::read_to_string(project.join(path)).unwrap_or_else(|why| panic!("{path}: {why}"));
    let root = Path::new(clone()).canonicalize().unwrap();
    let manifest = read("Cargo.toml");
    assert_eq!(manifest.matches(&format!("path = \"{}\"", root.display())).count(), 2, "{manifest}");
    assert!(read("src/main.rs").contains("App::new(\"my-shop\")"));
    assert_eq!(read("Cargo.lock"), std::fs::read_to_string(root.join("Cargo.lock")).unwrap());
    for (path, content) in [
        ("src/orders.rs", "#[agent(topic = \"orders\")]"),
        ("src/orders.rs", "TestDriver::new"),
        ("faust.toml", "topic_partitions"),
        ("Dockerfile", "/usr/local/bin/my-shop"),
        (".github/workflows/ci.yml", "cargo test"),
        (".gitignore", "/my-shop-data"),
        (".dockerignore", "target"),
        ("README.md", "# my-shop"),
    ] {
        assert!(read(path).contains(content), "{path} does not contain `{content}`");
    }
}

#[test]
fn new_writes_the_url_of_a_repository() {
    let directory = tempfile::tempdir().unwrap();
    assert!(run(directory.path(), &["-q", "new", "shop", "--git", "https://git.example/faust"]).stderr.is_empty());
    let manifest = std::fs::read_to_string(directory.path().join("shop/Cargo.toml")).unwrap();
    assert!(manifest.contains("git = \"https://git.example/faust\"") && !manifest.contains("path ="), "{manifest}");
}

#[test]
fn new_refuses_invalid_names_and_existing_directories() {
    let directory = tempfile::tempdir().unwrap();
    let error = fails(directory.path(), 1, &["new", "My Shop", "--path", clone()]);
    assert!(error.contains("`My Shop` cannot be the name") && error.contains("such as `my-shop`"), "{error}");
    std::fs::create_dir(directory.path().join("shop")).unwrap();
    let error = fails(directory.path(), 1, &["new", "shop", "--path", clone()]);
    assert!(error.contains("`shop` exists already"), "{error}");
    let error = fails(directory.path(), 1, &["new", "other", "--path", "shop"]);
    assert!(error.contains("`--path shop` is not a clone"), "{error}");
    assert!(fails(directory.path(), 2, &["new"]).contains("<NAME>"));
    assert!(fails(directory.path(), 2, &["new", "a", "--git", "u", "--path", "p"]).contains("cannot be used with"));
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "nothing is created");
}

#[test]
fn broker_runs_until_it_is_interrupted() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = faust(directory.path(), &["broker"]).spawn().unwrap();
    let mut address = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let broker = Running { child, address: address.trim().to_owned() };
    assert!(std::net::TcpStream::connect(&broker.address).is_ok(), "{address}");
    broker.interrupt();
    assert!(directory.path().join("faust-data").exists());
}
