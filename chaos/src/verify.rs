//! The verifier: recomputes every output from the input, by means of its own, and compares.
//!
//! It shares nothing with the engine: records are read by librdkafka with `isolation.level=read_committed`, and parsed here.

mod fault;
mod guarantee;
mod input;
mod oracle;
mod sequence;
mod record;
mod outputs;
mod windows;
mod groups;
mod changelogs;
mod judge;
mod read;
mod command;
#[cfg(test)]
mod tests;

pub(crate) use self::command::main;
pub(crate) use self::guarantee::Guarantee;
pub(crate) use self::judge::Figures;
