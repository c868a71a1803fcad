//! Scenarios on the test driver: the real engine on an in-process Kafka, with a clock that only the test advances.
#![allow(missing_docs, clippy::unwrap_used, reason = "a panic is how a test fails")]

mod chaos;
mod crashes;
mod cuts;
mod declarations;
mod exactly_once;
mod failures;
mod guarantees;
mod harness;
mod laws;
mod logs;
mod owners;
mod pace;
mod policies;
mod rebalances;
mod seals;
mod selection;
mod standby;
mod steps;
mod streams;
mod tables;
mod timeline;
mod times;
mod values;
mod windows;
mod workers;
