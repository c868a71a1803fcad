//! The commands, one file each: options and implementation.

pub(crate) mod agents;
pub(crate) mod broker;
pub(crate) mod clean_versions;
pub(crate) mod completion;
pub(crate) mod consume;
pub(crate) mod model;
pub(crate) mod models;
pub(crate) mod reset;
pub(crate) mod send;
pub(crate) mod settings;
pub(crate) mod tables;
pub(crate) mod topics;
pub(crate) mod topology;
pub(crate) mod worker;
