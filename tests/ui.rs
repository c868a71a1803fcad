//! Compile errors of incorrect annotations: each file of `ui/fail` contains one mistake, its `.stderr` the diagnostics.
//!
//! The test runs rustc on each file, against the library that Cargo built for this test, so nothing is built twice.
//! `FAUST_BLESS=1` writes the `.stderr` files; review the diff before committing it.
#![allow(clippy::unwrap_used, clippy::print_stderr)] // A failed unwrap fails the test; skipped checks are reported.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, thread};

use serde_json::Value;

/// The compiler release that produced the `.stderr` files.
const RELEASE: &str = "rustc 1.95.";

#[test]
fn compile_errors_match_the_stderr_files() {
    let exact = is_the_release();
    let failures = for_each_case("fail", |case, diagnostics| {
        let path = case.with_extension("stderr");
        if exact && env::var_os("FAUST_BLESS").is_some() {
            fs::write(&path, diagnostics).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if expected.is_empty() {
            Some("it compiles without errors, or has no `.stderr` file".to_owned())
        } else if exact {
            (diagnostics != expected).then(|| format!("--- expected\n{expected}--- actual\n{diagnostics}"))
        } else {
            missing_words(&expected, diagnostics)
        }
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn correct_annotations_compile() {
    let failures = for_each_case("pass", |_, diagnostics| (!diagnostics.is_empty()).then(|| diagnostics.to_owned()));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn each_stderr_file_belongs_to_a_case() {
    let stale: Vec<_> =
        files("fail", "stderr").into_iter().filter(|file| !file.with_extension("rs").exists()).collect();
    assert!(stale.is_empty(), "no `.rs` file belongs to {stale:?}");
    assert!(files("fail", "rs").len() >= 25, "at least 25 compile errors must be covered");
}

fn is_the_release() -> bool {
    let version = Command::new(rustc()).arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let exact = version.starts_with(RELEASE);
    if !exact {
        eprintln!(
            "the `.stderr` files are from {RELEASE}x, not {}: only faust's messages are compared",
            version.trim()
        );
    }
    exact
}

/// Reports missing messages of faust. Unlike those of the compiler, they do not depend on its release.
fn missing_words(expected: &str, actual: &str) -> Option<String> {
    let is_ours = |message: &&str| !message.starts_with("the trait bound") && !message.starts_with("mismatched types");
    let messages = expected.lines().filter(|line| line.starts_with("error")).filter_map(|line| line.split_once(": "));
    let missing: Vec<_> =
        messages.map(|(_, message)| message).filter(is_ours).filter(|words| !actual.contains(words)).collect();
    (!missing.is_empty()).then(|| format!("missing: {missing:?}\n--- actual\n{actual}"))
}

/// Compiles the cases of a folder and returns the faults that `judge` finds, each with the name of its file.
fn for_each_case(folder: &str, judge: impl Fn(&Path, &str) -> Option<String> + Sync) -> Vec<String> {
    let cases = files(folder, "rs");
    assert!(!cases.is_empty(), "tests/ui/{folder} is empty");
    let library = Library::find();
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let shares: Vec<_> = cases.chunks(cases.len().div_ceil(workers)).collect();
        let run = |share: &[PathBuf]| -> Vec<String> {
            let judged = share.iter().filter_map(|case| {
                let fault = judge(case, &library.diagnostics(case))?;
                Some(format!("=== {}\n{fault}", case.display()))
            });
            judged.collect()
        };
        let running: Vec<_> = shares.into_iter().map(|share| scope.spawn(move || run(share))).collect();
        running.into_iter().flat_map(|share| share.join().unwrap()).collect()
    })
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui").join(folder);
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}

fn rustc() -> String {
    env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned())
}

/// The facade crate as built by Cargo for this test.
struct Library {
    rlib: PathBuf,
    folders: Vec<PathBuf>,
}

impl Library {
    fn find() -> Self {
        let dependencies = env::current_exe().unwrap().parent().unwrap().to_owned();
        let entries = fs::read_dir(&dependencies).unwrap().map(|entry| entry.unwrap().path());
        let is_facade = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with("libfaust-") && name.ends_with(".rlib")
        };
        // Builds with other features or older sources may have left other files; the newest one belongs to this test.
        let newest = entries.filter(is_facade).max_by_key(|path| path.metadata().unwrap().modified().unwrap());
        // With `--target`, the macro crate is among the host's dependencies, two folders up.
        let profile = dependencies.parent().unwrap();
        let host = profile.ancestors().nth(2).unwrap().join(profile.file_name().unwrap()).join("deps");
        Self { rlib: newest.expect("Cargo builds the library before its tests"), folders: vec![dependencies, host] }
    }

    /// Compiles a program and returns its errors in the format of the `.stderr` files.
    fn diagnostics(&self, case: &Path) -> String {
        let metadata = Path::new(env!("CARGO_TARGET_TMPDIR")).join(case.file_stem().unwrap()).with_extension("rmeta");
        let mut rustc = Command::new(rustc());
        rustc.args(["--edition", "2024", "--crate-type", "bin", "--emit", "metadata", "--error-format", "json"]);
        rustc.arg("--extern").arg(format!("faust={}", self.rlib.display())).arg("-o").arg(metadata);
        for folder in &self.folders {
            rustc.arg("-L").arg(format!("dependency={}", folder.display()));
        }
        // The compiler names a future with the path of its file, and shortens a type whose name is too long.
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let case = case.strip_prefix(root).unwrap();
        let output = rustc.current_dir(root).arg(case).output().unwrap();
        let lines = String::from_utf8(output.stderr).unwrap();
        let mut actual = String::new();
        for line in lines.lines() {
            let diagnostic: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
            actual.push_str(&shown(&diagnostic, case));
        }
        assert_eq!(output.status.success(), actual.is_empty(), "{}: {lines}", case.display());
        actual
    }
}

/// Formats an error: its message, the marked source, and the notes with the fix.
fn shown(diagnostic: &Value, case: &Path) -> String {
    let message = diagnostic["message"].as_str().unwrap_or_default();
    if diagnostic["level"] != "error" || message.starts_with("aborting due to") {
        return String::new();
    }
    let code = diagnostic["code"]["code"].as_str().map(|code| format!("[{code}]")).unwrap_or_default();
    let mut shown = format!("error{code}: {message}\n");
    for span in diagnostic["spans"].as_array().into_iter().flatten().filter(|span| span["is_primary"] == true) {
        if let Some(span) = in_file(span, case) {
            shown.push_str(&caret(span));
        }
    }
    for child in diagnostic["children"].as_array().into_iter().flatten() {
        let text = child["message"].as_str().unwrap_or_default();
        // Notes with spans, and lists of types, change whenever a type is added to faust.
        let is_told = child["spans"].as_array().is_some_and(Vec::is_empty)
            && !text.starts_with("the following other types")
            && !text.starts_with("this error originates in");
        if is_told {
            writeln!(shown, "  = {}: {text}", child["level"].as_str().unwrap_or_default()).unwrap();
        }
    }
    shown
}

/// Returns the location of a span in the case itself, following macro expansions outward.
fn in_file<'a>(mut span: &'a Value, case: &Path) -> Option<&'a Value> {
    while !span.is_null() {
        if span["file_name"].as_str().is_some_and(|name| Path::new(name) == case) {
            return Some(span);
        }
        span = &span["expansion"]["span"];
    }
    None
}

fn caret(span: &Value) -> String {
    let number = |name: &str| usize::try_from(span[name].as_u64().unwrap()).unwrap();
    let (line, start) = (number("line_start"), number("column_start"));
    let text = span["text"][0]["text"].as_str().unwrap_or_default();
    let end = if number("line_end") == line { number("column_end") } else { text.chars().count() + 1 };
    let label = span["label"].as_str().map(|label| format!(" {label}")).unwrap_or_default();
    let marks = "^".repeat((end - start).max(1));
    format!("{line:>4} | {text}\n     | {}{marks}{label}\n", " ".repeat(start - 1))
}
