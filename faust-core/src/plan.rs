//! The plan of an app: which stages read which topics and write which. It is built before anything is subscribed.

mod tables;
pub(super) mod model;
mod builder;
pub(super) mod planner;
mod table_builder;
pub(super) mod topics;

pub(crate) use self::model::StageRun;
pub use self::model::{Plan, PlannedStage, TopicPlan, TopicRole};
pub(crate) use self::planner::panic_text;
pub use self::tables::TablePlan;
pub(crate) use self::topics::ensure_topics;
