//! Codecs: conversion between the values of a type and the bytes of a message.

mod data;
mod type_name;
mod error;
mod form;
mod option;
mod json;
mod raw;
mod registry;
pub(super) mod plain;
mod coder;
pub(crate) mod encode;
pub mod record;
mod chain;
pub(super) mod entry;

pub use self::coder::Coder;
pub use self::data::{Data, KeyRef, Role};
pub(crate) use self::entry::EntryCoder;
pub(crate) use self::type_name::without_paths;
pub use error::{DecodeError, EncodeError, UnknownCodec};
pub use registry::{Codec, CodecDef, faults, names};
