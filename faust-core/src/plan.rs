//! The plan of an app: its stages and the topics they read and write. It is built before the worker subscribes to a
//! topic.

mod tables;
pub(super) mod model;
mod compare;
mod upgrade;
mod groups;
mod builder;
pub(super) mod planner;
mod table_builder;
mod topic_configs;
pub(super) mod topics;
mod skip;

pub(crate) use self::compare::PlanSummary;
#[cfg(test)]
pub(crate) use self::compare::TableSummary;
pub(crate) use self::groups::stage_groups;
pub(crate) use self::model::StageRun;
pub use self::model::{Plan, PlannedStage, TopicPlan, TopicRole};
pub use self::skip::{EventToSkip, event_to_skip};
pub use self::tables::TablePlan;
pub use self::topics::TopicsCheck;
pub(crate) use self::topics::ensure_topics;
pub use self::upgrade::{PlanChange, PlanPart, UpgradeEffect};
