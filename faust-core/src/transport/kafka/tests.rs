//! The adapter against librdkafka's mock cluster; against a real Kafka as well where `FAUST_TEST_KAFKA` names one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cluster;
mod coming_and_going;
mod group;
mod messages;
