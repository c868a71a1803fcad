//! Resolves a chain of codec names, like `binary|json`, for one type.

use std::any::type_name;

use super::coder::Coder;
use super::data::{Data, Role};
use super::error::UnknownCodec;
use super::form::Form;
use super::raw::passes_through;
use super::record::model_of;
use super::registry::{Step, known_names, transform};

impl<T: Data> Coder<T> {
    /// Chooses the codec: the one named, else the record's `serializer`, else by type.
    ///
    /// By type, `String`, `Vec<u8>`, `Bytes` and, as keys, integers are `raw`; everything else is `json`.
    /// A [`RawKey`](crate::message::RawKey) is never encoded, whatever the name says, so that a key can be sent on as it came.
    ///
    /// # Errors
    /// A name nobody registered (the error lists those known), a chain of two serializers, `raw` for a type that has
    /// no plain form.
    pub fn resolve(codec: Option<&str>, role: Role) -> Result<Self, UnknownCodec> {
        resolve(codec, role)
    }
}

fn resolve<T: Data>(codec: Option<&str>, role: Role) -> Result<Coder<T>, UnknownCodec> {
    let codec = codec.or_else(|| model_of::<T>().and_then(|model| model.codec));
    let Chain { serializer, steps } = codec.map(parse).transpose()?.unwrap_or_default();
    if passes_through::<T>() {
        let form = Form::raw().expect("a raw key has a plain form");
        return Ok(Coder { form, steps: [].into(), name: "raw".into(), role });
    }
    let (serializer, form) = match serializer {
        Some(Serializer::Json) => ("json", Form::json()),
        Some(Serializer::Raw) => ("raw", Form::raw().ok_or_else(not_raw::<T>)?),
        None => match Form::raw_by_default(role) {
            Some(form) => ("raw", form),
            None => ("json", Form::json()),
        },
    };
    // As it is written, or else what was chosen.
    let name = match codec {
        Some(chain) if chain.split('|').any(|name| name.trim() == serializer) => chain.into(),
        Some(chain) => format!("{serializer}|{chain}").into(),
        None => serializer.into(),
    };
    Ok(Coder { form, steps: steps.into(), name, role })
}

/// A chain taken apart: what makes bytes of a value, then what is done to those bytes, in that order.
#[derive(Default)]
struct Chain {
    serializer: Option<Serializer>,
    steps: Vec<Step>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Serializer {
    Json,
    Raw,
}

/// A serializer may stand at either end: `binary|json` and `json|binary` mean the same, as the transforms are applied
/// in the order that leads away from it.
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
        return Err(fault("the serializer stands between two codecs; put it first or last"));
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
    // `alloc::vec::Vec<my::Click>` reads as `Vec<Click>`.
    let short = type_name::<T>()
        .split_inclusive(['<', '>', ',', ' ', '(', ')'])
        .map(|part| part.rsplit("::").next().unwrap_or(part));
    UnknownCodec::NotRaw { type_name: short.collect() }
}
