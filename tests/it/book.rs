//! The book in `docs/`: its code is compiled, its links lead somewhere, and its texts agree with the sources.
//!
//! The doc tests of the facade compile its code, and `scripts/book` runs its commands.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::sources::{CRATES, root, sources};

/// A page of the book, by its path below `docs/src`.
struct Page {
    path: String,
    text: String,
}

impl Page {
    fn read(path: &str) -> Self {
        let file = book().join(path);
        let text = std::fs::read_to_string(&file).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        Self { path: path.to_owned(), text }
    }

    /// Returns the code blocks: the words after the opening fence, and the code.
    fn blocks(&self) -> Vec<(&str, &str)> {
        let parts: Vec<_> = self.text.split("```").collect();
        assert!(parts.len() % 2 == 1, "{}: a code block is not closed", self.path);
        parts.iter().skip(1).step_by(2).map(|block| block.split_once('\n').unwrap()).collect()
    }

    /// Returns the targets of the links outside of code.
    fn links(&self) -> Vec<&str> {
        let prose = self.text.split("```").step_by(2);
        let target = |part: &'_ str| part.split_once(')').map(|(target, _)| target.len());
        prose
            .flat_map(|text| text.split("](").skip(1))
            .filter_map(|part| Some(&part[..target(part)?]))
            .filter(|target| !target.contains("://"))
            .collect()
    }

    /// Returns the anchors of the headings, as mdBook forms them.
    fn anchors(&self) -> BTreeSet<String> {
        let prose: String = self.text.split("```").step_by(2).collect();
        let headings = prose.lines().filter(|line| line.starts_with('#'));
        headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
    }
}

fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

fn book() -> PathBuf {
    root().join("docs/src")
}

/// Returns the pages that the table of contents lists, with their titles.
fn listed() -> Vec<(String, Page)> {
    let summary = Page::read("SUMMARY.md");
    let entry = |line: &str| {
        let (title, path) = line.trim().trim_start_matches("- ").strip_prefix('[')?.split_once("](")?;
        Some((title.to_owned(), Page::read(path.strip_suffix(')')?)))
    };
    let pages: Vec<_> = summary.text.lines().filter_map(entry).collect();
    assert!(pages.len() > 25, "only {} pages were found", pages.len());
    pages
}

#[test]
fn every_page_is_listed_and_begins_with_its_title() {
    let mut pending = vec![book()];
    let mut files = BTreeSet::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            files.insert(path.strip_prefix(book()).unwrap().to_str().unwrap().to_owned());
        }
    }
    let pages = listed();
    let names: BTreeSet<_> = pages.iter().map(|(_, page)| page.path.clone()).chain(["SUMMARY.md".to_owned()]).collect();
    assert_eq!(files, names);
    for (title, page) in pages {
        assert_eq!(page.text.lines().next(), Some(&*format!("# {title}")), "{}", page.path);
    }
}

#[test]
fn links_lead_to_pages_and_headings_that_exist() {
    let mut faults = Vec::new();
    for (_, page) in listed() {
        let folder = Path::new(&page.path).parent().unwrap().to_owned();
        for link in page.links() {
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { book().join(&page.path) } else { book().join(&folder).join(path) };
            let Ok(target) = target.canonicalize() else {
                faults.push(format!("{}: `{link}` does not exist", page.path));
                continue;
            };
            let target = Page::read(target.strip_prefix(book().canonicalize().unwrap()).unwrap().to_str().unwrap());
            if !fragment.is_empty() && !target.anchors().contains(fragment) {
                faults.push(format!("{}: `{link}` has no such heading: {:?}", page.path, target.anchors()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Code is compiled as it is pasted: in full, and on every page.
#[test]
fn code_is_compiled_and_complete() {
    let compiled = std::fs::read_to_string(root().join("src/book.rs")).unwrap();
    let mut faults = Vec::new();
    for (_, page) in listed() {
        let path = &page.path;
        for (kind, code) in page.blocks().into_iter().filter(|(kind, _)| kind.starts_with("rust")) {
            if !["rust", "rust,no_run"].contains(&kind) {
                faults.push(format!("{path}: a block is `{kind}`: it must be compiled"));
            }
            if code.lines().any(|line| line.starts_with("# ")) {
                faults.push(format!("{path}: a block has hidden lines, which are not pasted"));
            }
            if !code.contains("fn main()") {
                faults.push(format!("{path}: a block has no `main`, so it cannot be pasted into a program"));
            }
            if !compiled.contains(&format!("\"{path}\"")) {
                faults.push(format!("{path} is not compiled: add it to src/book.rs"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Each chapter of the lesson shows an example, and each example has a chapter.
#[test]
fn the_lesson_shows_the_examples_as_they_are() {
    let pages = listed();
    let lesson = || pages.iter().map(|(_, page)| page).filter(|page| page.path.starts_with("lesson/"));
    for example in sources(&["examples"]).iter().filter(|example| !example.path.ends_with("clicks.rs")) {
        let code: Vec<_> = example.text.lines().skip_while(|line| line.starts_with("//!")).collect();
        let code = code.join("\n");
        let is_shown = lesson().any(|page| page.blocks().iter().any(|(_, shown)| shown.trim_end() == code));
        assert!(is_shown, "no chapter of the lesson shows {} as it is", example.path.display());
    }
}

/// Returns the text of all sources, with the lines of a string joined, and without the values in it.
fn program_texts() -> String {
    let folders: Vec<_> = CRATES.iter().map(|name| format!("{name}/src")).collect();
    let folders: Vec<_> = folders.iter().map(String::as_str).collect();
    let texts = sources(&folders).into_iter().map(|source| source.text);
    let mut text = String::new();
    for line in texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()) {
        match line.strip_suffix('\\') {
            Some(begun) => text.push_str(begun.trim_start()),
            None => {
                text.push_str(line.trim_start());
                text.push('\n');
            }
        }
    }
    text
}

#[test]
fn the_index_of_errors_quotes_texts_that_exist() {
    let texts = program_texts();
    let index = Page::read("errors.md");
    let headings: Vec<_> = index.text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert!(headings.len() > 30, "only {} errors were found", headings.len());
    let mut faults = Vec::new();
    for heading in headings {
        let quoted = heading.trim_matches('`').trim();
        for fragment in quoted.split("..").map(str::trim).filter(|fragment| fragment.len() > 3) {
            if !texts.contains(fragment) {
                faults.push(format!("`{fragment}` of `{quoted}`"));
            }
        }
    }
    assert!(faults.is_empty(), "no error of the program contains:\n{}", faults.join("\n"));
}

/// Messages name pages by their titles: `(book: Blocking code)`.
#[test]
fn messages_name_pages_that_exist() {
    let titles: BTreeSet<_> = listed().into_iter().map(|(title, _)| title.replace('`', "")).collect();
    let texts = program_texts();
    let named: Vec<_> = texts.split("(book: ").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    assert!(named.len() >= 5, "only {named:?} were found");
    // A title may contain parentheses.
    let exists = |name: &str| titles.iter().any(|title| title.split(')').next() == Some(name));
    let missing: Vec<_> = named.iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "the book has no pages with these titles: {missing:?}");
}
