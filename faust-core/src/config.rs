//! The settings: one table of names, types and defaults, and the layers a value may come from.
//!
//! A value is taken from the first of these that has it: command line, environment (`FAUST_<NAME>`), file
//! (`faust.toml`), builder, default. [`Layers`] collects them, [`Layers::resolve`] checks all of them together and
//! yields [`Settings`] with, for each, where it came from.

mod check;
mod file;
mod layers;
mod settings;
mod suggest;
mod table;
mod value;

pub use self::settings::{SettingDef, Settings};
pub use layers::{Explained, Layers, Origin, Resolved};
pub use suggest::closest;
pub use value::{
    BrokerUrl, ByteSize, Compression, DecodePolicy, GroupProtocol, OffsetReset, Secret, SecurityProtocol, StoreKind,
};
