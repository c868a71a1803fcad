//! The house rules that can be counted: the language of the documentation, names, and sizes.

use std::collections::BTreeMap;
use std::path::Path;

use proc_macro2::{Delimiter, TokenTree};

use crate::sources::{CRATES, Source, all_sources, files, is_cfg_test, root, sources};

/// Percent of the first lines of documentation that may begin with one of [`QUESTIONS`].
const QUESTION_PERCENT: usize = 2;
const QUESTIONS: [&str; 7] = ["What", "Where", "How", "Who", "Which", "Why", "When"];
/// Words that the documentation of components does not need.
const FORBIDDEN: [&str; 3] = ["somebody", "nobody", "whoever"];
const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 80;
/// Type names that may occur in several modules, because they are private to each.
const PRIVATE_NAMES: [&str; 2] = ["Inner", "State"];

/// The sources of the published crates and the facade, tests left out.
fn library_sources() -> Vec<Source> {
    let folders: Vec<_> = CRATES.iter().map(|name| format!("{name}/src")).chain(["src".to_owned()]).collect();
    let folders: Vec<_> = folders.iter().map(String::as_str).collect();
    sources(&folders).into_iter().filter(|source| !source.is_test()).collect()
}

/// Returns the text of a documentation line: `/// text` or `//! text`.
fn documentation(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(str::trim_start)
}

#[test]
fn documentation_states_facts() {
    let (mut first_lines, mut questions) = (0, Vec::new());
    for source in library_sources() {
        let mut before = None;
        for line in source.text.lines() {
            let text = documentation(line);
            if let Some(text) = text.filter(|_| before.is_none()) {
                first_lines += 1;
                let first_word = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
                if QUESTIONS.contains(&first_word) {
                    questions.push(format!("{}: {text}", source.path.display()));
                }
            }
            before = text;
        }
    }
    assert!(first_lines > 1000, "only {first_lines} documented items were found: the test does not see the sources");
    let limit = first_lines * QUESTION_PERCENT / 100;
    assert!(
        questions.len() < limit,
        "{} of {first_lines} first lines begin with a question word, {limit} are allowed:\n{}",
        questions.len(),
        questions.join("\n")
    );
}

#[test]
fn documentation_names_components_not_people() {
    let mut faults = Vec::new();
    let of_sources = all_sources().into_iter().map(|source| {
        let lines: Vec<_> = source.text.lines().map(|line| documentation(line).unwrap_or_default()).collect();
        (source.path, lines.join("\n"))
    });
    let mut pages = files(&["docs/src"], "md");
    for page in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        pages.extend(files(&[page], "md"));
    }
    let of_pages = pages.into_iter().map(|page| (page.path, page.text));
    for (path, text) in of_sources.chain(of_pages) {
        for (number, line) in text.lines().enumerate() {
            let lower = line.to_lowercase();
            let mut words = lower.split(|c: char| !c.is_alphanumeric());
            if words.any(|word| FORBIDDEN.contains(&word)) {
                faults.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// An example in the documentation or on a page: its file, the line of its opening fence, the fence, and its lines.
struct Example {
    place: String,
    fence: String,
    lines: Vec<String>,
}

/// Returns the examples among these lines, which are numbered from 1.
fn examples<'a>(path: &Path, lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<Example> {
    let (mut found, mut open) = (Vec::new(), None::<Example>);
    for (number, line) in lines {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(example), None) => example.lines.push(line.to_owned()),
            (None, Some(fence)) => {
                let place = format!("{}:{number}", path.display());
                open = Some(Example { place, fence: fence.to_owned(), lines: Vec::new() });
            }
            (None, None) => {}
        }
    }
    found
}

/// Returns the examples in the documentation of a source.
fn documented_examples(source: &Source) -> Vec<Example> {
    let lines = source.text.lines().zip(1..).filter_map(|(line, number)| {
        let text = line.trim_start();
        let text = text.strip_prefix("///").or_else(|| text.strip_prefix("//!"))?;
        Some((number, text.strip_prefix(' ').unwrap_or(text)))
    });
    examples(&source.path, lines)
}

fn is_hidden(line: &str) -> bool {
    line.trim_start() == "#" || line.trim_start().starts_with("# ")
}

/// Returns whether a hidden line only puts the example into a function, as a user does who pastes it.
fn is_wrapper(hidden: &str) -> bool {
    let line = hidden.trim();
    let is_main = line.starts_with("# fn main()") || line.starts_with("# async fn main()");
    is_main
        || line.starts_with("# Ok::<(), ")
        || ["# #[tokio::main(flavor = \"current_thread\")]", "# Ok(())", "# }"].contains(&line)
}

/// A user depends on the facade and sees no hidden lines. `cargo test` compiles the examples.
#[test]
fn examples_in_the_documentation_can_be_pasted() {
    let (mut examined, mut faults) = (0, Vec::new());
    for example in library_sources().iter().flat_map(documented_examples) {
        let Example { place, fence, lines } = example;
        examined += 1;
        if fence.contains("ignore") {
            faults.push(format!("{place}: `{fence}` is not compiled"));
        }
        for line in &lines {
            if line.contains("faust_core") || line.contains("faust_macros") {
                faults.push(format!("{place}: a user depends on `faust` only: {line}"));
            }
            if is_hidden(line) && !is_wrapper(line) {
                faults.push(format!("{place}: the example does not work without its hidden line: {line}"));
            }
        }
    }
    assert!(examined > 100, "only {examined} examples were found: the test does not see the sources");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A page shows the lines that rustdoc hides. What the doc tests skip there is compiled in the documentation of the facade.
#[test]
fn examples_on_pages_can_be_pasted() {
    let compiled = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let (mut examined, mut faults) = (0, Vec::new());
    for page in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let lines = text.lines().zip(1..).map(|(line, number)| (number, line));
        for Example { place, fence, lines } in examples(Path::new(page), lines) {
            if !fence.starts_with("rust") {
                continue;
            }
            examined += 1;
            let hidden = lines.iter().filter(|line| is_hidden(line));
            faults.extend(hidden.map(|line| format!("{place}: a page shows this line: {line}")));
            let documented: String = lines.iter().map(|line| format!("/// {line}\n")).collect();
            if fence.contains("ignore") && !compiled.contains(&documented) {
                faults.push(format!(
                    "{place}: `{fence}` is not compiled, and src/lib.rs has no example with these lines"
                ));
            }
        }
    }
    assert!(examined >= 3, "only {examined} examples were found: the test does not see the pages");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_type_name_occurs_twice_in_a_crate() {
    let mut faults = Vec::new();
    for name in CRATES {
        let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for source in sources(&[&format!("{name}/src")]).iter().filter(|source| !source.is_test()) {
            for type_name in declared_types(&source.tokens()) {
                places.entry(type_name).or_default().push(source.path.display().to_string());
            }
        }
        let is_twice =
            |(name, places): &(&String, &Vec<String>)| places.len() > 1 && !PRIVATE_NAMES.contains(&&***name);
        faults.extend(places.iter().filter(is_twice).map(|(name, places)| format!("`{name}`: {}", places.join(", "))));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Returns the names of structs, enums, traits, unions and type aliases outside of functions and impl blocks.
fn declared_types(tokens: &[TokenTree]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let [TokenTree::Ident(keyword), TokenTree::Ident(name)] = pair else { continue };
        let is_declaration = ["struct", "enum", "trait", "union", "type"].iter().any(|word| keyword == word);
        let is_in_test = at >= 2 && is_cfg_test(&tokens[..at]);
        if is_declaration && !is_in_test {
            found.push(name.to_string());
        }
    }
    found
}

#[test]
fn every_file_states_its_purpose_and_has_one() {
    let mut faults = Vec::new();
    for source in all_sources() {
        let shown = source.path.display();
        // Expected output of the compiler or of a macro is no source.
        let is_expected = shown.to_string().contains("tests/golden");
        if !is_expected && !source.text.starts_with("//! ") {
            faults.push(format!("{shown} does not begin with its purpose"));
        }
        let lines = source.text.lines().count();
        if lines > MAX_FILE_LINES {
            faults.push(format!("{shown} has {lines} lines: it has more than one purpose"));
        }
        if source.path.file_name().unwrap() == "mod.rs" {
            faults.push(format!("{shown}: name it after its folder"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_function_is_longer_than_a_page() {
    let mut faults = Vec::new();
    for source in all_sources().iter().filter(|source| !source.path.starts_with("tests/ui")) {
        functions(&source.tokens(), &mut |name, lines| {
            if lines > MAX_FUNCTION_LINES {
                faults.push(format!("{}: `{name}` has {lines} lines", source.path.display()));
            }
        });
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Calls `each` with the name and the number of lines of every function, also of those inside others and in macros.
fn functions(tokens: &[TokenTree], each: &mut dyn FnMut(&str, usize)) {
    for (at, token) in tokens.iter().enumerate() {
        if let (TokenTree::Ident(keyword), Some(TokenTree::Ident(name))) = (token, tokens.get(at + 1))
            && *keyword == "fn"
        {
            let is_body =
                |token: &&TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
            let is_end = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ';');
            let signature = tokens[at..].iter().take_while(|token| !is_end(token));
            if let Some(body) = signature.clone().find(is_body) {
                each(&name.to_string(), body.span().end().line - token.span().start().line + 1);
            }
        }
        if let TokenTree::Group(group) = token {
            functions(&group.stream().into_iter().collect::<Vec<_>>(), each);
        }
    }
}

/// The map names files that exist: a path such as `stage/cursor.rs` is below `faust-core/src`, or at the root.
#[test]
fn architecture_names_files_that_exist() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let names = text.split('`').skip(1).step_by(2).filter(|name| !name.contains([' ', '\n', '*', '{', '<']));
    let is_file = |name: &&str| name.ends_with(".rs") || name.ends_with(".md") || name.ends_with(".toml");
    let names: Vec<_> = names.filter(is_file).collect();
    assert!(names.len() > 30, "only {} file names were found", names.len());
    let places = ["", "faust-core/src", "faust-cli/src", "faust-broker/src", "faust-macros/src"];
    let exists = |name: &str| places.iter().any(|place| Path::new(root()).join(place).join(name).exists());
    let missing: Vec<_> = names.into_iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names files that do not exist: {missing:?}");
}

/// Each of the three paths has at most ten steps.
#[test]
fn architecture_shows_each_path_in_ten_steps() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for path in ["## The path of a record", "## The path of a table write", "## The path of a commit"] {
        let (_, section) = text.split_once(path).unwrap_or_else(|| panic!("ARCHITECTURE.md has no section `{path}`"));
        let section = section.split("\n## ").next().unwrap_or_default();
        let steps = section.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).count();
        assert!((3..=10).contains(&steps), "`{path}` has {steps} steps");
        assert!(section.matches(".rs`").count() >= 5, "`{path}` names too few files");
    }
}
