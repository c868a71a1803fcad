//! Integration tests over librdkafka: each test starts its own embedded broker, or uses the Kafka of `FAUST_TEST_KAFKA`.
//!
//! `FAUST_TEST_KAFKA=localhost:9092 cargo test --test it` runs the same scenarios on that Kafka. With `--test`, Cargo
//! does not build the examples, so run `cargo build --examples` first. The names of tests that always need an embedded
//! broker, for instance because they stop it, begin with `embedded_`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test fails by panicking")]

mod agents;
mod away;
mod bad_input;
mod book;
mod changelogs;
mod cli;
mod blocked;
mod commits;
mod crash;
mod doctor;
mod drain;
mod examples;
mod failing;
mod groups;
mod harness;
mod house;
mod inputs;
mod layering;
mod network;
mod operators;
mod planning;
mod rebalances;
mod sources;
mod tables;
mod times;
mod topics;
mod tour;
mod transactions;
