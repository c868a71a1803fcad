//! The sources of the workspace, as the tests of its structure read them.

use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The crates of the workspace that are published, by folder.
pub(crate) const CRATES: [&str; 4] = ["faust-core", "faust-macros", "faust-cli", "faust-broker"];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A source file, by its path from the root of the workspace.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Source {
    /// Returns whether the file holds tests only.
    pub(crate) fn is_test(&self) -> bool {
        self.path.components().any(|part| part.as_os_str().to_string_lossy().trim_end_matches(".rs") == "tests")
    }

    /// Returns the path of its module: `a/b.rs` is `[a, b]`.
    pub(crate) fn module(&self, source_folder: &Path) -> Vec<String> {
        let inside = self.path.strip_prefix(source_folder).unwrap().with_extension("");
        inside.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect()
    }

    pub(crate) fn tokens(&self) -> Vec<TokenTree> {
        let parsed: TokenStream = self.text.parse().unwrap_or_else(|error| panic!("{}: {error}", self.path.display()));
        parsed.into_iter().collect()
    }
}

/// Returns the source files below these folders of the workspace, sorted by path.
pub(crate) fn sources(folders: &[&str]) -> Vec<Source> {
    files(folders, "rs")
}

/// Returns the files with this extension below these folders of the workspace, sorted by path.
pub(crate) fn files(folders: &[&str], extension: &str) -> Vec<Source> {
    let mut pending: Vec<_> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut files = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|of_path| of_path == extension) {
            let text = std::fs::read_to_string(&path).unwrap();
            files.push(Source { path: path.strip_prefix(root()).unwrap().to_owned(), text });
        }
    }
    assert!(!files.is_empty(), "{folders:?} hold no sources");
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Returns the source files of every crate, with their examples and tests.
pub(crate) fn all_sources() -> Vec<Source> {
    let folders = ["src", "examples", "tests", "bench", "chaos"].into_iter().chain(CRATES);
    sources(&folders.filter(|folder| root().join(folder).exists()).collect::<Vec<_>>())
}

/// A path in code, made absolute: the names after `crate`.
pub(crate) type AbsolutePath = Vec<String>;

/// Returns every path of the crate that the code of a module names, in `use` items and elsewhere, tests left out.
pub(crate) fn paths(tokens: &[TokenTree], module: &[String]) -> Vec<AbsolutePath> {
    let mut found = Vec::new();
    collect(tokens, module, &mut found);
    found
}

fn collect(tokens: &[TokenTree], module: &[String], found: &mut Vec<AbsolutePath>) {
    let mut at = 0;
    while at < tokens.len() {
        if let Some(after) = skip_test_module(&tokens[at..]) {
            at += after;
            continue;
        }
        if let (Some(name), Some(TokenTree::Group(body))) = (module_name(&tokens[at..]), tokens.get(at + 2)) {
            let inner: Vec<_> = module.iter().cloned().chain([name]).collect();
            collect(&body.stream().into_iter().collect::<Vec<_>>(), &inner, found);
            at += 3;
            continue;
        }
        match &tokens[at] {
            TokenTree::Group(group) => collect(&group.stream().into_iter().collect::<Vec<_>>(), module, found),
            TokenTree::Ident(_) if is_path_start(tokens, at) => {
                at += path(&tokens[at..], &[], module, found);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
}

/// `mod name { .. }`.
fn module_name(tokens: &[TokenTree]) -> Option<String> {
    let [TokenTree::Ident(keyword), TokenTree::Ident(name), TokenTree::Group(body), ..] = tokens else { return None };
    (*keyword == "mod" && body.delimiter() == Delimiter::Brace).then(|| name.to_string())
}

/// Returns whether the last item that began before the end of these tokens is `#[cfg(test)]`.
pub(crate) fn is_cfg_test(before: &[TokenTree]) -> bool {
    let [.., TokenTree::Punct(hash), TokenTree::Group(attribute)] = before else { return false };
    hash.as_char() == '#' && attribute.stream().to_string().replace(' ', "") == "cfg(test)"
}

/// `#[cfg(test)] mod tests { .. }` and `#[cfg(test)] mod tests;`: how many tokens to skip.
fn skip_test_module(tokens: &[TokenTree]) -> Option<usize> {
    let [TokenTree::Punct(hash), TokenTree::Group(attribute), rest @ ..] = tokens else { return None };
    if hash.as_char() != '#' || attribute.stream().to_string().replace(' ', "") != "cfg(test)" {
        return None;
    }
    let [TokenTree::Ident(keyword), _, _, ..] = rest else { return None };
    (*keyword == "mod").then_some(5)
}

fn is(token: Option<&TokenTree>, mark: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == mark)
}

/// Returns whether a path of the crate begins here: `crate::`, `super::` or `self::`, and not `$crate::`, `a::super::` or the
/// path of a visibility.
fn is_path_start(tokens: &[TokenTree], at: usize) -> bool {
    let TokenTree::Ident(first) = &tokens[at] else { return false };
    let before = at.checked_sub(1).and_then(|before| tokens.get(before));
    let is_visibility = matches!(before, Some(TokenTree::Ident(word)) if *word == "in");
    ["crate", "super", "self"].iter().any(|start| first == start)
        && is(tokens.get(at + 1), ':')
        && is(tokens.get(at + 2), ':')
        && !is(before, '$')
        && !is(before, ':')
        && !is_visibility
}

/// Reads one path, or a tree of them, that begins here; returns how many tokens it takes.
fn path(tokens: &[TokenTree], prefix: &[String], module: &[String], found: &mut Vec<AbsolutePath>) -> usize {
    let mut names = prefix.to_vec();
    let mut at = 0;
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(name)) => {
                names.push(name.to_string());
                at += 1;
            }
            Some(TokenTree::Group(tree)) if tree.delimiter() == Delimiter::Brace => {
                let inner: Vec<_> = tree.stream().into_iter().collect();
                for part in inner.split(|token| is(Some(token), ',')).filter(|part| !part.is_empty()) {
                    path(part, &names, module, found);
                }
                return at + 1;
            }
            // `*`
            _ => {
                names.push("*".to_owned());
                at += 1;
            }
        }
        if is(tokens.get(at), ':') && is(tokens.get(at + 1), ':') {
            at += 2;
        } else {
            break;
        }
    }
    found.extend(absolute(&names, module));
    at
}

fn absolute(names: &[String], module: &[String]) -> Option<AbsolutePath> {
    let own_ups = names.iter().take_while(|name| *name == "super").count();
    match names.first().map(String::as_str) {
        Some("crate") => Some(names[1..].to_vec()),
        Some("self") => Some(module.iter().chain(&names[1..]).cloned().collect()),
        Some("super") => {
            let kept = module.len().checked_sub(own_ups)?;
            Some(module[..kept].iter().chain(&names[own_ups..]).cloned().collect())
        }
        _ => None,
    }
}
