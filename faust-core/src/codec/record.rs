//! Records: the metadata that `#[record]` attaches to a type, and its lookup by the engine.

mod model;
mod timestamp;
#[doc(hidden)]
pub mod support;

pub use self::model::{FieldDef, KeyFn, ModelDef, PlainDef, Record, TimestampFn, VariantDef, models};
pub(crate) use self::model::{key_of, model_of, timestamp_of};
pub use timestamp::{IntoTimestamp, TimestampError};
