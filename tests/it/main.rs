//! The suite over librdkafka: by default each test on an embedded broker of its own, with `FAUST_TEST_KAFKA` on a Kafka.
//!
//! `FAUST_TEST_KAFKA=localhost:9092 cargo test --test it` (after `cargo build --examples`, which `cargo test` alone does
//! by itself) runs the same scenarios on that Kafka. A test that needs
//! an embedded broker in any case, such as one that stops it, begins its name with `embedded_`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a panic is how a test fails")]

mod agents;
mod away;
mod bad_input;
mod changelogs;
mod cli;
mod commits;
mod crash;
mod drain;
mod examples;
mod failing;
mod groups;
mod harness;
mod house;
mod layering;
mod operators;
mod planning;
mod sources;
mod tables;
mod topics;
mod tour;
