//! The `json` serializer: fast on valid bytes, with precise errors for invalid ones.

use serde::Serialize;
use serde_json::error::Category;

use super::data::Data;
use super::error::{DecodeError, EncodeError};
use super::form::Form;
use super::option;

impl<T: Data> Form<T> {
    /// Returns the JSON form of any type. The `None` of an optional type is encoded as absent.
    pub(super) fn json() -> Self {
        let encode = if option::is_optional::<T>() { encode_optional } else { encode };
        Self { decode, absent: || serde_json::from_str("null").ok(), encode }
    }
}

fn decode<T: Data>(bytes: &[u8]) -> Result<T, DecodeError> {
    // Validating all bytes first is a fifth faster than `from_slice`, which validates string by string.
    let text = std::str::from_utf8(bytes).map_err(DecodeError::utf8)?;
    serde_json::from_str(text).map_err(|error| explain::<T>(text, &error))
}

fn encode<T: Data>(value: &T, out: &mut Vec<u8>) -> Result<bool, EncodeError> {
    append(value, false, out)
}

fn encode_optional<T: Data>(value: &T, out: &mut Vec<u8>) -> Result<bool, EncodeError> {
    append(value, true, out)
}

/// Appends the JSON of a value. Returns `false`, with nothing appended, for the `None` of an optional type.
pub(super) fn append<Q: Serialize + ?Sized>(
    value: &Q,
    is_optional: bool,
    out: &mut Vec<u8>,
) -> Result<bool, EncodeError> {
    let start = out.len();
    serde_json::to_writer(&mut *out, value).map_err(EncodeError::new)?;
    if !is_optional {
        return Ok(true);
    }
    let absent = &out[start..] == b"null";
    if absent {
        out.truncate(start);
    }
    Ok(!absent)
}

/// Decodes again while tracking the path to the error. This costs as much as the first attempt, so it is done only for
/// invalid input.
#[cold]
fn explain<T: Data>(text: &str, error: &serde_json::Error) -> DecodeError {
    if error.classify() != Category::Data {
        return DecodeError::new(format!("line {} column {}: {}", error.line(), error.column(), without_place(error)));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let path = match serde_path_to_error::deserialize::<_, T>(&mut json) {
        Err(error) => error.path().to_string(),
        Ok(_) => String::new(),
    };
    let path = if path == "." { String::new() } else { path };
    reworded(path, &without_place(error))
}

/// Returns the error text without the ` at line 1 column 14` that serde_json appends; the path is more useful.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).map(str::to_owned).unwrap_or(text)
}

/// Rewords an error text of serde_json: puts the expected type before the found one, and adds a missing field to the
/// path.
fn reworded(path: String, text: &str) -> DecodeError {
    if let Some(field) = text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        let path = if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
        return DecodeError::at(path, "missing field".to_owned());
    }
    let mismatch = text.strip_prefix("invalid type: ").or_else(|| text.strip_prefix("invalid value: "));
    // The found part may be a string that contains the separator; the expected part never contains it.
    match mismatch.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((found, expected)) => DecodeError::at(path, format!("expected {expected}, found {found}")),
        None => DecodeError::at(path, text.to_owned()),
    }
}
