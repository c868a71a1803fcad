//! The settings: one table of names, types and defaults, and the layers a value may come from.
//!
//! A value is taken from the first of these that has it: command line, environment (`FAUST_<NAME>`), file
//! (`faust.toml`), builder, default. [`Layers`] collects them, [`Layers::resolve`] checks all of them together and
//! yields [`Settings`] with, for each, where it came from.

mod origin;
mod file;
mod suggest;
mod table;
mod value;
mod settings;
mod resolved;
mod check;
mod layers;

pub use self::layers::Layers;
pub use self::origin::Origin;
pub use self::resolved::{Explained, Resolved};
pub use self::settings::{SettingDef, Settings};
pub use suggest::closest;
pub use value::{
    BrokerUrl, ByteSize, Compression, DecodePolicy, GroupProtocol, OffsetReset, Secret, SecurityProtocol, StoreKind,
};
