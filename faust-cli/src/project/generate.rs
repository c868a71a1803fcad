//! Writes the files of a new project.

use std::io;
use std::path::Path;

use super::name;
use super::source::FaustSource;
use super::template::{FAUST_LOCATION, FAUST_SOURCE, FILES, PROJECT_NAME, path_in_project, render};

/// Creates the directory of a project, named by its last part, with all its files.
///
/// # Errors
/// The name is invalid, the directory exists, or a file cannot be written. Then no directory is left behind.
pub(crate) fn generate(directory: &Path, source: &FaustSource) -> Result<(), String> {
    let shown = directory.display();
    let project = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name::check(project)?;
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return Err(format!("cannot create `{shown}`: there is no directory `{}`; create it first", parent.display()));
    }
    std::fs::create_dir(directory).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("`{shown}` exists already, and is left as it is: choose another name, or remove it first")
        }
        _ => format!("cannot create `{shown}`: {error}"),
    })?;
    // The directory is new, so it contains nothing else. If it cannot be removed either, the error is that of the file.
    write_files(directory, project, source).inspect_err(|_| drop(std::fs::remove_dir_all(directory)))
}

fn write_files(directory: &Path, project: &str, source: &FaustSource) -> Result<(), String> {
    let (kind, location) = match source {
        FaustSource::Directory(path) => ("path", path.display().to_string()),
        FaustSource::Git(url) => ("git", url.clone()),
    };
    let variables = [(PROJECT_NAME, project), (FAUST_SOURCE, kind), (FAUST_LOCATION, &location)];
    for (path, text) in FILES {
        let path = directory.join(path_in_project(path));
        let folder = path.parent().unwrap_or(directory);
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, render(text, &variables)));
        written.map_err(|error| format!("cannot write `{}`: {error}", path.display()))?;
    }
    copy_lock_file(directory, source)
}

/// Copies the lock file of the clone, so that the project is built with the versions that were tested together, and without
/// looking for newer ones.
fn copy_lock_file(directory: &Path, source: &FaustSource) -> Result<(), String> {
    let FaustSource::Directory(clone) = source else { return Ok(()) };
    let (from, to) = (clone.join("Cargo.lock"), directory.join("Cargo.lock"));
    match std::fs::copy(&from, &to) {
        // Not part of every clone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("cannot copy `{}` to `{}`: {error}", from.display(), to.display())),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    fn source() -> FaustSource {
        FaustSource::Git("https://git.example/faust".to_owned())
    }

    #[test]
    fn every_variable_is_replaced() {
        let parent = tempfile::tempdir().unwrap();
        for (project, source) in [("from-git", source()), ("from-path", FaustSource::Directory("/src/faust".into()))] {
            let directory = parent.path().join(project);
            generate(&directory, &source).unwrap();
            for (path, _) in FILES {
                let path = directory.join(path_in_project(path));
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(!text.contains("{{") && !text.contains("{%") && text.ends_with('\n'), "{path:?}:\n{text}");
            }
            let manifest = std::fs::read_to_string(directory.join("Cargo.toml")).unwrap();
            assert!(manifest.contains(&format!("name = \"{project}\"")), "{manifest}");
            let (used, unused) = match source {
                FaustSource::Git(_) => ("git = \"https://git.example/faust\"", "path ="),
                FaustSource::Directory(_) => ("path = \"/src/faust\"", "git ="),
            };
            assert_eq!((manifest.matches(used).count(), manifest.contains(unused)), (2, false), "{manifest}");
        }
    }

    #[test]
    fn an_existing_directory_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("shop");
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("notes"), "mine").unwrap();
        assert!(generate(&directory, &source()).unwrap_err().contains("exists already"));
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
    }

    #[test]
    fn an_invalid_name_or_parent_creates_nothing() {
        let parent = tempfile::tempdir().unwrap();
        assert!(generate(&parent.path().join("My Shop"), &source()).unwrap_err().contains("such as `my-shop`"));
        assert!(generate(&parent.path().join("missing/shop"), &source()).unwrap_err().contains("no directory"));
        assert!(generate(&parent.path().join(".."), &source()).unwrap_err().contains("is empty"));
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
