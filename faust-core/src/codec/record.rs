//! Records: what `#[record]` says about a type, and how the engine asks for it.

#[doc(hidden)]
pub mod support;
mod timestamp;
mod model;

pub use timestamp::IntoTimestamp;
pub use self::model::{FieldDef, KeyFn, ModelDef, Record, TimestampFn, VariantDef, models};
pub(crate) use self::model::{key_of, model_of, timestamp_of};
