//! The task of one partition of each set of topics. A task owns its queues, its stages, its tables and its commits.

mod changelog;
mod check;
mod command;
mod context;
mod cut;
mod failure;
mod handle;
mod in_flight;
mod partition;
mod partition_task;
mod positions;
mod progress;
pub(super) mod published;
mod recovery;
mod restore;
mod run;
mod seal;
mod stores;
pub(super) mod tables;

pub(crate) use self::command::{Command, Drained, Resolution};
pub(crate) use self::context::TaskCx;
pub(crate) use self::cut::Cut;
pub(crate) use self::handle::TaskHandle;
pub(crate) use self::partition::Part;
pub(crate) use self::partition_task::Task;
pub use self::progress::{RestoreListener, RestoreProgress, log_listener};
pub(crate) use self::recovery::{Needs, Preparation, Recovery, Wanted};
