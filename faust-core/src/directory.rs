//! The app's control topic: the plans of its workers, and the workers themselves.
//!
//! The topic `<app>-control` has one partition and is compacted. Each worker writes its plan (`plan/<fingerprint>`) and itself
//! (`worker/<name>`), every few seconds and at changes, and removes itself when it stops. Which worker *owns* a partition is
//! known from the group alone, never from this topic.

mod entries;
mod known;
mod control_topic;
mod survey;

pub(crate) use self::control_topic::{Directory, DirectorySetup};
pub(crate) use self::known::Rival;
pub use self::survey::{RunningApp, TableReplicas};
