//! Settings: one table of names, types and defaults, and the layers that provide values.
//!
//! A value is taken from the first of these layers that provides it: command line, environment (`FAUST_<NAME>`), file
//! (`faust.toml`), builder, default. [`Layers`] collects the values. [`Layers::resolve`] checks all of them together
//! and returns the [`Settings`] with the origin of each.

mod origin;
mod file;
mod suggest;
mod native;
mod table;
mod value;
mod store_kind;
mod settings;
mod resolved;
mod check;
mod layers;

pub use self::layers::Layers;
pub use self::origin::Origin;
pub(crate) use self::resolved::is_secret;
pub use self::resolved::{Explained, Resolved};
pub(crate) use self::settings::MIN_FETCH_SHARE;
pub use self::settings::{SettingDef, Settings};
#[cfg(test)]
pub(crate) use native::{ALLOWED, PropertyForm, REFUSED};
pub use store_kind::StoreKind;
pub use suggest::closest;
pub use value::{
    BrokerUrl, ByteSize, Compression, DecodePolicy, FailurePolicy, GroupProtocol, OffsetReset, ProcessingGuarantee,
    Secret, SecurityProtocol, TimestampPolicy,
};
