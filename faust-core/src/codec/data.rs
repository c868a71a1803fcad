//! The types that messages can carry.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type whose values can be message keys or payloads: any type that serde can serialize and deserialize.
///
/// The trait is implemented for every such type. `#[record]` derives the serde traits and adds a name, validation and
/// an entry in `models`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message type",
    label = "not a message type",
    note = "annotate it with `#[record]`, or derive serde's `Serialize` and `Deserialize`; a message owns its parts: `String` \
            instead of `str`, `click.uri.clone()` instead of `&click.uri`"
)]
pub trait Data: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Data for T {}

/// A key as look-ups take it: the key type itself, or a borrowed form of it, such as `str` for `String` and `[u8]` for
/// `Vec<u8>`.
///
/// It is encoded as the key type is, because serde writes both in the same way. It need not be [`Data`], which can also be
/// read and therefore has a known size.
pub trait KeyRef: Serialize {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> KeyRef for T {}

/// The part of a message that a coder encodes. It selects the default codec: integers are `raw` as keys and `json` as
/// values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// The message's key, which determines its partition.
    Key,
    /// The message's payload; a message without one is a tombstone.
    Value,
}
