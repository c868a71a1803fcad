//! One task per partition of each set of topics that belong together. A task owns its queues, its stages and its commits.

pub(crate) mod closing;
pub(crate) mod cursor;
pub mod dead_letter;
pub(crate) mod feed;
mod generation;
pub(crate) mod stage;
pub(crate) mod tables;
pub(crate) mod task;
