//! Errors of decoding, of encoding, and of resolving a codec. Each names the place of the fault.

use std::error::Error;
use std::fmt;

use super::data::Role;
use crate::config::closest;

/// Maximum length of an error text. A hostile value (a megabyte in place of a number) would otherwise fill the log.
const LONGEST_TEXT: usize = 240;

/// The error for bytes that do not match the type: `clicks[3].number: expected i64, found string "x"`.
///
/// The content is boxed to keep the `Result` of the hot path small.
pub struct DecodeError(Box<Fault>);

struct Fault {
    /// Path to the invalid part, such as `clicks[3].number`; empty if the value as a whole is invalid.
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
            Role::Key => "the message has no key; use `Option<K>` or `RawKey` as the key type",
            Role::Value => "the value is null (a tombstone); use `Option<T>` as the value type to receive it",
        })
    }

    /// Returns the path to the invalid part, such as `clicks[3].number`; empty if the value as a whole is invalid.
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

/// Shows the same text as `Display`: a `main` that returns the error prints its `Debug`.
impl fmt::Debug for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The error for a value that its codec cannot encode, such as a map whose keys are not strings in JSON.
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

/// Shows the same text as `Display`: a `main` that returns the error prints its `Debug`.
impl fmt::Debug for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The error for a codec chain that cannot be resolved for a type. It is reported when the app is built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownCodec {
    /// No codec of that name is registered.
    Name {
        /// The unknown name.
        name: String,
        /// The registered names, sorted.
        known: Vec<String>,
    },
    /// The chain is malformed: an empty name, two serializers, or a serializer between two transforms.
    Chain {
        /// The malformed chain.
        chain: String,
        /// Description of the fault and its fix.
        fault: &'static str,
    },
    /// The codec `raw` does not support the type.
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
                match closest(name, known.iter().map(String::as_str)) {
                    Some(near) => write!(f, "; did you mean `{near}`?"),
                    None => f.write_str("; register your own with `#[codec(name = \"..\")]`"),
                }
            }
            Self::Chain { chain, fault } => write!(f, "codec `{chain}`: {fault}"),
            Self::NotRaw { type_name } => write!(
                f,
                "codec `raw` does not support `{type_name}`, only `String`, `Vec<u8>`, `Bytes` and integers; use `json`"
            ),
        }
    }
}

impl Error for UnknownCodec {}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
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
    fn an_unknown_name_is_reported_with_the_known_and_the_nearest_names() {
        let known = ["binary", "json", "raw"].map(String::from).to_vec();
        let text = |name: &str| UnknownCodec::Name { name: name.into(), known: known.clone() }.to_string();
        assert_eq!(text("jsn"), "unknown codec `jsn`: the codecs are `binary`, `json`, `raw`; did you mean `json`?");
        assert!(text("avro").ends_with("register your own with `#[codec(name = \"..\")]`"), "{}", text("avro"));
    }

    #[test]
    fn long_error_texts_are_truncated() {
        let error = DecodeError::new("é".repeat(1 << 20));
        assert!(error.to_string().chars().count() < LONGEST_TEXT + 4);
    }
}
