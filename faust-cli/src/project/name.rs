//! The rules for the name of a project, which becomes a package, a binary, an app id and a prefix of topics.

/// Rust's keywords, which cannot be names of crates.
const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];
/// Crates that a package of the same name would hide, and the crates of the framework.
const CRATES: [&str; 11] = [
    "alloc",
    "core",
    "proc_macro",
    "proc-macro",
    "std",
    "test",
    "faust",
    "faust-streams",
    "faust-core",
    "faust-cli",
    "faust-broker",
];
/// Folders in which Cargo keeps its results, beside the program.
const FOLDERS: [&str; 4] = ["build", "deps", "examples", "incremental"];
/// Length at which consumer groups and topics that begin with the name still fit into Kafka's limits.
const MAX_LENGTH: usize = 64;

/// Checks the name of a project.
///
/// # Errors
/// Describes why Cargo, rustc or Kafka would reject the name, and proposes another one.
pub(super) fn check(name: &str) -> Result<(), String> {
    let Some(why) = fault(name) else { return Ok(()) };
    Err(format!(
        "`{name}` cannot be the name of a project: {why}; use lower-case letters, digits, `-` and `_`, such as `{}`",
        proposal(name)
    ))
}

/// Returns the reason why a name is invalid; `None` if it is valid.
fn fault(name: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if name.is_empty() {
        Some("it is empty".to_owned())
    } else if let Some(c) = name.chars().find(|c| !fits(*c)) {
        Some(format!("it contains `{c}`"))
    } else if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        Some("it does not begin with a letter".to_owned())
    } else if name.len() > MAX_LENGTH {
        Some(format!("it has {} characters, {MAX_LENGTH} are allowed", name.len()))
    } else if KEYWORDS.contains(&name) {
        Some("it is a keyword of Rust".to_owned())
    } else if CRATES.contains(&name) {
        Some("it is the name of a crate that the project depends on".to_owned())
    } else if FOLDERS.contains(&name) {
        Some("Cargo has a folder of this name beside the program".to_owned())
    } else {
        None
    }
}

/// Returns a valid name that resembles an invalid one.
fn proposal(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name: String = name.chars().map(|c| if fits(c) { c.to_ascii_lowercase() } else { '-' }).collect();
    let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    match &name[..name.len().min(MAX_LENGTH)] {
        "" => "my-app".to_owned(),
        name if fault(name).is_none() => name.to_owned(),
        name => format!("my-{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_accepted() {
        for name in ["shop", "my-shop", "shop2", "click_stream", "a"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn each_rejection_states_its_reason_and_a_name_that_is_accepted() {
        let long = "a".repeat(65);
        let rejected = [
            ("", "is empty", "my-app"),
            ("Shop", "contains `S`", "shop"),
            ("my shop", "contains ` `", "my-shop"),
            ("größe", "contains `ö`", "gr--e"),
            ("2shop", "begin with a letter", "shop"),
            ("-", "begin with a letter", "my-app"),
            ("match", "keyword", "my-match"),
            ("faust", "depends on", "my-faust"),
            ("deps", "folder", "my-deps"),
            (long.as_str(), "65 characters", &long[..64]),
        ];
        for (name, reason, proposed) in rejected {
            let error = check(name).expect_err(name);
            assert!(error.contains(reason) && error.ends_with(&format!("such as `{proposed}`")), "{name}: {error}");
            assert_eq!(check(proposed), Ok(()), "{proposed}");
        }
    }
}
