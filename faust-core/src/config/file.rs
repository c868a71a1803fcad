//! The settings file: TOML with settings at the top level and librdkafka settings under `[kafka]`.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::origin::{Given, Origin};

/// The contents of a settings file: its values and its faults.
#[derive(Clone)]
pub(super) struct FileLayer {
    given: Vec<Given>,
    faults: Vec<String>,
}

impl FileLayer {
    /// Reads and parses a file. Faults are kept, because the faults of all layers are reported together.
    pub(super) fn read(path: PathBuf) -> Self {
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&path, &text),
            Err(error) => {
                let fault = format!("settings file `{}` cannot be read: {error}", path.display());
                Self { given: Vec::new(), faults: vec![fault] }
            }
        }
    }

    fn parse(path: &Path, text: &str) -> Self {
        let mut layer = Self { given: Vec::new(), faults: Vec::new() };
        match DeTable::parse(text) {
            Ok(table) => layer.take("", table.get_ref(), &TextPosition { path, text }),
            Err(error) => {
                let line = error.span().map_or(1, |span| line_of(text, span.start));
                layer.faults.push(format!("{}:{line}: {}", path.display(), error.message()));
            }
        }
        layer
    }

    fn take(&mut self, prefix: &str, table: &DeTable<'_>, place: &TextPosition<'_>) {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            let origin = Origin::File { path: place.path.to_owned(), line: line_of(place.text, key.span().start) };
            match value.get_ref() {
                // Without quotes, TOML reads `fetch.min.bytes = 1` as nested tables.
                DeValue::Table(inner) if name == "kafka" || name.starts_with("kafka.") => {
                    self.take(&format!("{name}."), inner, place);
                }
                value => match text_of(value) {
                    Some(value) => self.given.push(Given { name, value, origin }),
                    None => self.faults.push(format!(
                        "setting `{name}` ({origin}): a {} is not allowed; write a string, a number, `true` or `false`",
                        value.type_str()
                    )),
                },
            }
        }
    }

    /// Returns the values and the faults.
    pub(super) fn parts(&self) -> (&[Given], &[String]) {
        (&self.given, &self.faults)
    }
}

struct TextPosition<'a> {
    path: &'a Path,
    text: &'a str,
}

/// Returns a value as the other layers would have written it. An array of strings is joined with commas, for `broker`.
fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Integer(number) => {
            i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            texts.map(|texts| texts.join(","))
        }
        DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
