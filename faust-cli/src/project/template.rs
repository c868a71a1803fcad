//! The files of the template, and the part of Liquid that they use, so that `cargo generate` reads them as well.

/// The files of the template, by path.
pub(super) const FILES: [(&str, &str); 9] = [
    (".dockerignore.liquid", include_str!("../../template/.dockerignore.liquid")),
    (".github/workflows/ci.yml", include_str!("../../template/.github/workflows/ci.yml")),
    (".gitignore.liquid", include_str!("../../template/.gitignore.liquid")),
    ("Cargo.toml.liquid", include_str!("../../template/Cargo.toml.liquid")),
    ("Dockerfile.liquid", include_str!("../../template/Dockerfile.liquid")),
    ("README.md.liquid", include_str!("../../template/README.md.liquid")),
    ("faust.toml", include_str!("../../template/faust.toml")),
    ("src/main.rs.liquid", include_str!("../../template/src/main.rs.liquid")),
    ("src/orders.rs.liquid", include_str!("../../template/src/orders.rs.liquid")),
];

/// The variable with the name of the project.
pub(super) const PROJECT_NAME: &str = "project-name";
/// The variable with the kind of the dependency on Faust: `path` or `git`.
pub(super) const FAUST_SOURCE: &str = "faust_source";
/// The variable with the directory or URL of Faust.
pub(super) const FAUST_LOCATION: &str = "faust_location";

/// Returns the path that a file of the template has in a project. `cargo generate` removes the same ending.
pub(super) fn path_in_project(path: &str) -> &str {
    path.strip_suffix(".liquid").unwrap_or(path)
}

/// Renders a file: `{{name}}` is replaced by the value of the variable. The lines between `{%- if name == "value" %}` and
/// `{%- endif %}`, each on a line of its own, are kept if the variable has the value.
///
/// # Panics
/// Panics if the template contains anything else in braces of Liquid, which a test of the template finds.
pub(super) fn render(text: &str, variables: &[(&str, &str)]) -> String {
    let value = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("the template uses the unknown variable `{name}`")).1
    };
    let (mut rendered, mut keep) = (String::new(), true);
    for line in text.lines() {
        if let Some(tag) = line.strip_prefix("{%- ").and_then(|tag| tag.strip_suffix(" %}")) {
            let condition = tag.strip_prefix("if ").and_then(|tag| tag.strip_suffix('"')?.split_once(" == \""));
            keep = match condition {
                Some((name, wanted)) => value(name) == wanted,
                None => {
                    assert_eq!(tag, "endif", "the template uses an unknown tag");
                    true
                }
            };
        } else if keep {
            let mut parts = line.split("{{");
            rendered.push_str(parts.next().unwrap_or_default());
            for part in parts {
                let (name, rest) =
                    part.split_once("}}").unwrap_or_else(|| panic!("the template does not close `{part}`"));
                rendered.push_str(value(name));
                rendered.push_str(rest);
            }
            rendered.push('\n');
        }
    }
    rendered
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use std::path::Path;

    use super::*;

    const VARIABLES: [&str; 3] = [FAUST_LOCATION, FAUST_SOURCE, PROJECT_NAME];

    /// Returns the paths of all files below a directory.
    fn files_below(directory: &Path) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
    }

    #[test]
    fn every_file_of_the_template_is_in_the_list() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("template");
        let mut found = files_below(&folder);
        // The questions of `cargo generate`, which leaves them out of the project as well.
        let listed = FILES.iter().map(|(path, _)| *path).chain(["cargo-generate.toml"]);
        let mut listed: Vec<_> = listed.map(|path| folder.join(path)).collect();
        found.sort();
        listed.sort();
        assert_eq!(found, listed);
    }

    #[test]
    fn variables_and_conditions_are_rendered() {
        let text = "a\n{%- if x == \"1\" %}\nx = {{x}}{{y}}.\n{%- endif %}\nb {{y}}\n";
        assert_eq!(render(text, &[("x", "1"), ("y", "2")]), "a\nx = 12.\nb 2\n");
        assert_eq!(render(text, &[("x", "3"), ("y", "2")]), "a\nb 2\n");
    }

    /// Without a question, cargo-generate leaves a variable of the template empty.
    #[test]
    fn cargo_generate_asks_for_every_variable() {
        let text = include_str!("../../template/cargo-generate.toml");
        let questions: toml::Table = text.parse().unwrap();
        // cargo-generate itself asks for the name.
        let asked = questions["placeholders"].as_table().unwrap().keys().map(String::as_str);
        let mut asked: Vec<&str> = asked.chain([PROJECT_NAME]).collect();
        asked.sort_unstable();
        assert_eq!(asked, VARIABLES);
        let choices = questions["placeholders"][FAUST_SOURCE]["choices"].as_array().unwrap();
        assert_eq!(choices.iter().filter_map(|choice| choice.as_str()).collect::<Vec<_>>(), ["path", "git"]);
        for (path, text) in FILES {
            let used = text.split("{{").skip(1).filter_map(|part| Some(part.split_once("}}")?.0));
            assert_eq!(used.filter(|name| !VARIABLES.contains(name)).collect::<Vec<_>>(), [""; 0], "{path}");
        }
    }
}
