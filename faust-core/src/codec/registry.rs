//! Registry of codecs: the built-in ones, and those of the user, which are registered at link time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::BoxError;

/// A transform of bytes that a chain can name, such as compression or a signature.
///
/// ```text
/// #[codec(name = "rot13")]
/// struct Rot13;
///
/// impl Codec for Rot13 { /* encode, decode */ }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a codec",
    label = "`Codec` is not implemented",
    note = "write `impl faust::Codec for {Self}` with its `encode` and `decode`"
)]
pub trait Codec: Send + Sync {
    /// Transforms the bytes of the serializer, or of the previous codec of the chain.
    ///
    /// # Errors
    /// An error makes the send fail.
    fn encode(&self, bytes: Vec<u8>) -> Result<Vec<u8>, BoxError>;

    /// Reverses [`encode`](Codec::encode).
    ///
    /// # Errors
    /// Fails if `encode` cannot have produced these bytes. The message then counts as undecodable.
    fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, BoxError>;
}

/// A codec registered with `#[codec(name = "..")]`.
pub struct CodecDef {
    /// Name of the codec in chains.
    pub name: &'static str,
    /// The codec itself, a unit struct.
    pub codec: &'static dyn Codec,
    /// Source file of the declaration, for the error about duplicate names.
    pub file: &'static str,
    /// Line of the declaration.
    pub line: u32,
}

inventory::collect!(CodecDef);

impl std::fmt::Debug for CodecDef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CodecDef({} at {}:{})", self.name, self.file, self.line)
    }
}

const BUILT_IN: [&str; 3] = ["binary", "json", "raw"];

/// Returns every name that a chain may use, sorted.
pub fn names() -> Vec<String> {
    known_names()
}

pub(super) fn known_names() -> Vec<String> {
    let mut names: Vec<String> =
        BUILT_IN.into_iter().chain(definitions().map(|def| def.name)).map(String::from).collect();
    names.sort();
    names.dedup();
    names
}

pub(super) fn transform(name: &str) -> Option<Step> {
    if name == "binary" {
        return Some(Step { name: "binary", codec: &Base64 });
    }
    definitions().find(|def| def.name == name).map(|def| Step { name: def.name, codec: def.codec })
}

/// Returns the faults of the linked codecs: each name that is used twice or is built in, with its places.
///
/// Records are not checked: two of them may share a name, because record names are only displayed and not written to
/// messages.
pub fn faults() -> Vec<String> {
    let mut codecs: Vec<_> = definitions().map(|def| (def.name, def.file, def.line)).collect();
    codecs.sort_unstable();
    let built_in = |(name, file, line): &(&str, &str, u32)| {
        BUILT_IN
            .contains(name)
            .then(|| format!("codec `{name}` at {file}:{line} has the name of a built-in codec; rename it"))
    };
    let mut faults: Vec<String> = codecs.iter().filter_map(built_in).collect();
    faults.extend(twice(&codecs));
    faults
}

fn definitions() -> impl Iterator<Item = &'static CodecDef> {
    inventory::iter::<CodecDef>.into_iter()
}

/// Returns a fault for each name that occurs twice. `sorted` must be sorted by name.
fn twice<'a>(sorted: &'a [(&str, &str, u32)]) -> impl Iterator<Item = String> + use<'a> {
    sorted.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(move |pair| {
        let [(name, file, line), (_, other_file, other_line)] = [pair[0], pair[1]];
        format!(
            "two codecs are named `{name}`: {file}:{line} and {other_file}:{other_line}; rename one of them with `name = \"..\"`"
        )
    })
}

/// The codec `binary`: base64 with padding, as in Python Faust.
struct Base64;

impl Codec for Base64 {
    fn encode(&self, bytes: Vec<u8>) -> Result<Vec<u8>, BoxError> {
        Ok(STANDARD.encode(bytes).into_bytes())
    }

    fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, BoxError> {
        STANDARD.decode(bytes).map_err(|error| format!("invalid base64: {}", error.to_string().to_lowercase()).into())
    }
}

/// One byte transform of a chain.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) codec: &'static dyn Codec,
}

impl Step {
    /// Returns `true` for a transform of this crate, which is known to be reversible.
    pub(super) fn is_built_in(&self) -> bool {
        BUILT_IN.contains(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_names_are_reported_with_both_places() {
        let sorted = [("a", "x.rs", 1), ("b", "x.rs", 2), ("b", "y.rs", 3)];
        let faults: Vec<_> = twice(&sorted).collect();
        assert_eq!(faults, ["two codecs are named `b`: x.rs:2 and y.rs:3; rename one of them with `name = \"..\"`"]);
    }
}
