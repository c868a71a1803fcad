//! Resolution of a chain of codec names, such as `binary|json`, for one type.

use std::any::type_name;

use super::coder::Coder;
use super::data::{Data, Role};
use super::error::UnknownCodec;
use super::form::{Form, Serializer};
use super::option::is_optional;
use super::raw::passes_through;
use super::record::model_of;
use super::registry::{Step, known_names, transform};
use super::type_name::without_paths;

impl<T: Data> Coder<T> {
    /// Resolves the codec: the given one, else the record's `serializer`, else the default of the type.
    ///
    /// The default of `String`, `Vec<u8>`, `Bytes` and, as keys, integers is `raw`; that of all other types is `json`.
    /// A [`RawKey`](crate::message::RawKey) is never encoded, whatever codec is given, so that a key can be forwarded
    /// unchanged.
    ///
    /// # Errors
    /// Fails for a name that is not registered (the error lists the registered ones), for a malformed chain, such as
    /// one with two serializers, and for `raw` with a type that it does not support.
    pub fn resolve(codec: Option<&str>, role: Role) -> Result<Self, UnknownCodec> {
        resolve(codec, role)
    }
}

fn resolve<T: Data>(codec: Option<&str>, role: Role) -> Result<Coder<T>, UnknownCodec> {
    let codec = codec.or_else(|| model_of::<T>().and_then(|model| model.codec));
    let Chain { serializer, steps } = codec.map(parse).transpose()?.unwrap_or_default();
    if passes_through::<T>() {
        let form = Form::raw().expect("a raw key has a plain form");
        return Ok(Coder {
            form,
            serializer: Serializer::Raw,
            is_optional: true,
            steps: [].into(),
            name: "raw".into(),
            role,
        });
    }
    let (serializer, form) = match serializer {
        Some(Serializer::Json) => (Serializer::Json, Form::json()),
        Some(Serializer::Raw) => (Serializer::Raw, Form::raw().ok_or_else(not_raw::<T>)?),
        None => match Form::raw_by_default(role) {
            Some(form) => (Serializer::Raw, form),
            None => (Serializer::Json, Form::json()),
        },
    };
    let used = match serializer {
        Serializer::Json => "json",
        Serializer::Raw => "raw",
    };
    // The chain as written, with the serializer added if the chain does not name one.
    let name = match codec {
        Some(chain) if chain.split('|').any(|name| name.trim() == used) => chain.into(),
        Some(chain) => format!("{used}|{chain}").into(),
        None => used.into(),
    };
    Ok(Coder { form, serializer, is_optional: is_optional::<T>(), steps: steps.into(), name, role })
}

/// A parsed chain: the serializer, and the transforms in the order in which they are applied to its bytes.
#[derive(Default)]
struct Chain {
    serializer: Option<Serializer>,
    steps: Vec<Step>,
}

/// Parses a chain. The serializer may be at either end: `binary|json` and `json|binary` are equivalent, because the
/// transforms are applied in order of their distance from the serializer.
fn parse(chain: &str) -> Result<Chain, UnknownCodec> {
    let fault = |fault| UnknownCodec::Chain { chain: chain.to_owned(), fault };
    let mut serializer = None;
    let mut steps = Vec::new();
    let mut steps_before = 0;
    for name in chain.split('|').map(str::trim) {
        let found = match name {
            "" => return Err(fault("a name is empty; write names with `|` between them, like `binary|json`")),
            "json" => Serializer::Json,
            "raw" => Serializer::Raw,
            _ => {
                let codec = transform(name).ok_or_else(|| unknown(name))?;
                steps.push(codec);
                continue;
            }
        };
        if serializer.replace(found).is_some() {
            return Err(fault("it names two serializers; keep either `json` or `raw`"));
        }
        steps_before = steps.len();
    }
    if serializer.is_some() && steps_before > 0 && steps_before < steps.len() {
        return Err(fault("the serializer is between two codecs; put it first or last"));
    }
    if steps_before > 0 {
        steps.reverse();
    }
    Ok(Chain { serializer, steps })
}

fn unknown(name: &str) -> UnknownCodec {
    UnknownCodec::Name { name: name.to_owned(), known: known_names() }
}

fn not_raw<T>() -> UnknownCodec {
    UnknownCodec::NotRaw { type_name: without_paths(type_name::<T>()) }
}
