//! What can be wrong with bytes, with a value, and with the name of a codec, in words that name the place.

use std::error::Error;
use std::fmt;

use super::data::Role;

/// Longer texts come from hostile values (a megabyte where a number should be) and would fill the log.
const LONGEST_TEXT: usize = 240;

/// Bytes that do not fit the type: `clicks[3].number: expected i64, found string "x"`.
///
/// Boxed, so that the `Result` of the hot path stays as small as its value.
#[derive(Debug)]
pub struct DecodeError(Box<Fault>);

#[derive(Debug)]
struct Fault {
    /// `clicks[3].number`; empty for the value as a whole.
    path: String,
    what: String,
}

impl DecodeError {
    pub(super) fn at(path: String, what: String) -> Self {
        Self(Box::new(Fault { path, what: shortened(what) }))
    }

    pub(super) fn new(what: impl Into<String>) -> Self {
        Self::at(String::new(), what.into())
    }

    pub(super) fn utf8(error: std::str::Utf8Error) -> Self {
        Self::new(format!("invalid utf-8 at byte {}", error.valid_up_to()))
    }

    pub(super) fn codec(name: &str, error: &dyn Error) -> Self {
        Self::new(format!("codec `{name}`: {error}"))
    }

    pub(super) fn absent(role: Role) -> Self {
        Self::new(match role {
            Role::Key => "the message has no key; take `Option<K>` or `RawKey` as the key",
            Role::Value => "the value is null (a tombstone); take `Option<T>` to receive it",
        })
    }

    /// The way to the value that is wrong, like `clicks[3].number`; empty when it is the whole.
    pub fn path(&self) -> &str {
        &self.0.path
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.path.is_empty() {
            write!(f, "{}: ", self.0.path)?;
        }
        f.write_str(&self.0.what)
    }
}

impl Error for DecodeError {}

/// A value that has no bytes under its codec, such as a JSON object whose keys are not text.
#[derive(Debug)]
pub struct EncodeError(String);

impl EncodeError {
    pub(crate) fn new(what: impl fmt::Display) -> Self {
        Self(shortened(what.to_string()))
    }

    pub(super) fn codec(name: &str, error: &dyn Error) -> Self {
        Self::new(format!("codec `{name}`: {error}"))
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for EncodeError {}

/// A chain of codecs that cannot be resolved for a type; found when the app is built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownCodec {
    /// Nobody registered that name.
    Name {
        /// The name as it was written.
        name: String,
        /// What could have been written, sorted.
        known: Vec<String>,
    },
    /// The chain's form is wrong: an empty name, two serializers, or one between two transforms.
    Chain {
        /// The chain as it was written.
        chain: String,
        /// What is wrong with it and what to write instead.
        fault: &'static str,
    },
    /// `raw` for a type that has no plain form.
    NotRaw {
        /// The type's name without its path.
        type_name: String,
    },
}

impl fmt::Display for UnknownCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name, known } => {
                write!(f, "unknown codec `{name}`: the codecs are {}", quoted(known))?;
                match nearest(name, known) {
                    Some(near) => write!(f, "; did you mean `{near}`?"),
                    None => f.write_str("; register your own with `#[codec(name = \"..\")]`"),
                }
            }
            Self::Chain { chain, fault } => write!(f, "codec `{chain}`: {fault}"),
            Self::NotRaw { type_name } => write!(
                f,
                "codec `raw` cannot carry `{type_name}`: it is for `String`, `Vec<u8>`, `Bytes` and integers; use `json`"
            ),
        }
    }
}

impl Error for UnknownCodec {}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The known name at most two edits away, if one is.
fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let distance = |candidate: &&String| edits(name, candidate);
    let best = known.iter().min_by_key(distance)?;
    (edits(name, best) <= 2 && best.len() > 2).then_some(best)
}

/// The Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_the_known_and_the_nearest() {
        let known = ["binary", "json", "raw"].map(String::from).to_vec();
        let text = |name: &str| UnknownCodec::Name { name: name.into(), known: known.clone() }.to_string();
        assert_eq!(text("jsn"), "unknown codec `jsn`: the codecs are `binary`, `json`, `raw`; did you mean `json`?");
        assert!(text("avro").ends_with("register your own with `#[codec(name = \"..\")]`"), "{}", text("avro"));
    }

    #[test]
    fn a_megabyte_in_the_place_of_a_number_does_not_fill_the_log() {
        let error = DecodeError::new("é".repeat(1 << 20));
        assert!(error.to_string().chars().count() < LONGEST_TEXT + 4);
    }
}
