//! The verifier shares nothing with the engine: it names none of its crates.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

#[test]
fn the_verifier_names_no_crate_of_the_workspace() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let of_verifier = std::fs::read_dir(source.join("verify")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = of_verifier.chain(["verify.rs", "topics.rs"].map(|name| source.join(name))).collect();
    assert!(found.len() > 10, "only {} files were found: the test does not see the sources", found.len());
    found.retain(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        ["faust::", "faust_core", "faust_cli", "faust_broker"].iter().any(|name| text.contains(name))
    });
    assert_eq!(found, Vec::<PathBuf>::new());
}
