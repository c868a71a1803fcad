//! Declarations that the macros make from attributes: plain data, read by streams, tables, topics and the plan.

pub(super) mod window;
pub(super) mod table;
mod topic;
mod source;
pub(super) mod argument;

pub use self::argument::ArgSpec;
pub use self::source::SourceDecl;
pub use self::table::{RelativeTo, TableDecl};
pub use self::topic::TopicDecl;
pub use self::window::WindowDecl;
