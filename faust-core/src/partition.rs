//! One task per partition of each set of topics that belong together. A task owns its queues, its stages and its commits.

mod generation;
pub(crate) mod tables;
pub(crate) mod task;
