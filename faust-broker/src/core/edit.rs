//! Incremental changes of configs, for topics and for the broker.

use std::collections::BTreeMap;

use crate::core::{ErrorCode, Refusal};

/// A change of a config.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigEdit {
    /// Sets a value.
    Set(String, String),
    /// Resets a value to the default.
    Unset(String),
    /// Appends a word to a list.
    Append(String, String),
    /// Removes a word from a list.
    Subtract(String, String),
}

/// Applies the edits to `configs`. `list` returns the current value of a config that is a list and not in `configs`, and
/// `None` if the config is no list.
pub(crate) fn edited(
    mut configs: BTreeMap<String, String>,
    edits: &[ConfigEdit],
    list: impl Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, Refusal> {
    for edit in edits {
        match edit {
            ConfigEdit::Set(name, value) => {
                configs.insert(name.clone(), value.clone());
            }
            ConfigEdit::Unset(name) => {
                configs.remove(name);
            }
            ConfigEdit::Append(name, word) | ConfigEdit::Subtract(name, word) => {
                let Some(inherited) = list(name) else {
                    let text = format!("config `{name}` is not a list; set its value instead");
                    return Err(Refusal::new(ErrorCode::InvalidConfig, text));
                };
                let present = configs.get(name).unwrap_or(&inherited);
                let word = word.trim();
                let others = present.split(',').map(str::trim).filter(|other| !other.is_empty() && *other != word);
                let mut words: Vec<&str> = others.collect();
                if matches!(edit, ConfigEdit::Append(..)) {
                    words.push(word);
                }
                let value = words.join(",");
                configs.insert(name.clone(), value);
            }
        }
    }
    Ok(configs)
}
