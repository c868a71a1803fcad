//! The suite over librdkafka: by default each test on an embedded broker of its own, with `FAUST_TEST_KAFKA` on a Kafka.
//!
//! `FAUST_TEST_KAFKA=localhost:9092 cargo test --test it` runs the same scenarios on that Kafka. A test that needs to
//! stop its broker says so in its name's first word, `embedded_`, and does nothing special there.
#![allow(missing_docs, clippy::unwrap_used, reason = "a panic is how a test fails")]

mod agents;
mod away;
mod bad_input;
mod commits;
mod crash;
mod drain;
mod failing;
mod groups;
mod harness;
mod operators;
mod planning;
mod topics;
