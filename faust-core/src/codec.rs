//! Codecs: how the values of a type become the bytes of a message, and back.

mod chain;
pub(super) mod coder;
pub(crate) mod encode;
mod error;
mod json;
mod option;
mod raw;
pub mod record;
mod registry;

pub use self::coder::{Coder, Data, Role};
pub use error::{DecodeError, EncodeError, UnknownCodec};
pub use registry::{Codec, CodecDef, faults, names};
