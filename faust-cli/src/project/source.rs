//! The place from which a project takes the package `faust-streams`.

use std::path::{Path, PathBuf};

/// The package on which a project depends.
const PACKAGE: &str = "faust-streams";

/// The source of the project's dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FaustSource {
    /// The URL of a git repository.
    Git(String),
    /// An absolute path of a directory.
    Directory(PathBuf),
}

impl FaustSource {
    /// Returns the source that is asked for, or else the repository that the package of this program names, or else the clone
    /// that this program was built from.
    ///
    /// # Errors
    /// The directory does not contain the package, or there is no source.
    pub(crate) fn choose(git: Option<String>, directory: Option<PathBuf>) -> Result<Self, String> {
        match (git, directory) {
            (Some(url), _) => git_url(url),
            (None, Some(directory)) => clone_at(&directory),
            (None, None) => default_source(env!("CARGO_PKG_REPOSITORY"), Path::new(env!("CARGO_MANIFEST_DIR"))),
        }
    }
}

fn git_url(url: String) -> Result<FaustSource, String> {
    if url.is_empty() || url.contains(['"', '\\']) || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("`--git {url}` is not the URL of a repository: write it as `git clone` takes it"));
    }
    Ok(FaustSource::Git(url))
}

fn clone_at(directory: &Path) -> Result<FaustSource, String> {
    let shown = directory.display();
    let absolute = directory.canonicalize().map_err(|error| format!("`--path {shown}`: {error}"))?;
    if !is_clone(&absolute) {
        return Err(format!(
            "`--path {shown}` is not a clone of Faust for Rust: its Cargo.toml does not have the package `{PACKAGE}`"
        ));
    }
    if absolute.to_str().is_none_or(|text| text.contains(['"', '\\'])) {
        return Err(format!("`--path {shown}` cannot be written into Cargo.toml: move the clone to a simpler path"));
    }
    Ok(FaustSource::Directory(absolute))
}

/// Returns the source of a project without options. `manifest` is the directory of this package at build time.
fn default_source(repository: &str, manifest: &Path) -> Result<FaustSource, String> {
    if !repository.is_empty() {
        return git_url(repository.to_owned());
    }
    // Cargo deletes its own check-outs when it pleases.
    let is_cargo_s =
        manifest.components().any(|part| part.as_os_str() == "checkouts" || part.as_os_str() == "registry");
    match manifest.parent() {
        Some(root) if !is_cargo_s && is_clone(root) => clone_at(root),
        _ => Err(format!(
            "the package `{PACKAGE}` is not published, so the project needs its place: pass `--git URL` of a repository, or \
             `--path DIR` of a clone"
        )),
    }
}

fn is_clone(directory: &Path) -> bool {
    let manifest = std::fs::read_to_string(directory.join("Cargo.toml")).unwrap_or_default();
    manifest.lines().any(|line| line.trim_end() == format!("name = \"{PACKAGE}\""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    #[test]
    fn a_repository_comes_first_then_the_clone() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().unwrap().canonicalize().unwrap();
        let url = "https://git.example/faust".to_owned();
        assert_eq!(FaustSource::choose(Some(url.clone()), None), Ok(FaustSource::Git(url.clone())));
        assert_eq!(default_source(&url, manifest), Ok(FaustSource::Git(url)));
        assert_eq!(default_source("", manifest), Ok(FaustSource::Directory(root.clone())));
        assert_eq!(FaustSource::choose(None, Some(manifest.join(".."))), Ok(FaustSource::Directory(root)));
    }

    #[test]
    fn without_a_source_the_error_names_both_options() {
        for manifest in ["/home/ann/.cargo/git/checkouts/faust-1/abc/faust-cli", "/gone/faust-cli"] {
            let error = default_source("", Path::new(manifest)).unwrap_err();
            assert!(error.contains("--git URL") && error.contains("--path DIR"), "{error}");
        }
    }

    #[test]
    fn a_faulty_source_is_named() {
        let other = tempfile::tempdir().unwrap();
        let missing = other.path().join("missing");
        let error = |git: Option<&str>, path: Option<&Path>| {
            FaustSource::choose(git.map(str::to_owned), path.map(Path::to_owned)).unwrap_err()
        };
        assert!(error(Some("a\" b"), None).contains("is not the URL"));
        assert!(error(None, Some(other.path())).contains("not a clone of Faust for Rust"));
        assert!(error(None, Some(&missing)).contains("missing"));
    }
}
