//! Declarations that the macros generate from attributes: plain data, read by streams, tables, topics and the plan.

mod source;
pub(super) mod topic;
pub(super) mod window;
pub(super) mod table;
pub(super) mod argument;

pub use self::argument::ArgSpec;
pub use self::source::SourceDecl;
pub use self::table::{RelativeTo, TableDecl};
pub use self::topic::TopicDecl;
pub use self::window::WindowDecl;
