//! Records: what `#[record]` says about a type, and how the engine asks for it.

mod model;
mod timestamp;
#[doc(hidden)]
pub mod support;

pub use self::model::{FieldDef, KeyFn, ModelDef, Record, TimestampFn, VariantDef, models};
pub(crate) use self::model::{key_of, model_of, timestamp_of};
pub use timestamp::IntoTimestamp;
