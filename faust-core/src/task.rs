//! The task of one partition of a set of topics. A task owns its queues, stages, tables and commits.

mod check;
mod in_flight;
mod changelog;
mod last_commits;
mod partition;
mod positions;
pub(super) mod progress;
pub(super) mod published;
mod stores;
mod recovery;
mod ownership;
mod context;
pub(super) mod tables;
mod cut;
mod command;
mod seal;
mod failure;
mod failure_history;
mod handle;
mod run;
mod group;
mod partition_task;
mod drain;
mod takeover;
mod restore;

pub(crate) use self::command::{Command, Drained};
pub(crate) use self::context::TaskCx;
pub(crate) use self::cut::{Cut, Resolution};
pub use self::failure_history::FailingAgent;
pub(crate) use self::handle::TaskHandle;
pub use self::last_commits::{LastCommits, last_commits};
pub(crate) use self::ownership::Ownership;
pub(crate) use self::partition::TaskPartition;
pub(crate) use self::partition_task::Task;
pub use self::progress::{RestoreListener, RestoreProgress, log_listener};
pub(crate) use self::recovery::{Preparation, Recovery, RecoverySetup, RestoreRequest};
