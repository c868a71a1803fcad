//! The types that messages can carry.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type that messages can carry: anything serde can write and read.
///
/// Every such type has it already; `#[record]` derives what is needed and adds a name, validation and a place in
/// `models`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message type",
    label = "not a message type",
    note = "annotate it with `#[record]`, or derive serde's `Serialize` and `Deserialize`"
)]
pub trait Data: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Data for T {}

/// Which half of a message a coder is for: integers are text as keys and JSON as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The message's key, which places it.
    Key,
    /// The message's payload, whose absence is a tombstone.
    Value,
}
