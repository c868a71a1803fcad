//! Tests of the adapter on librdkafka's mock cluster, the embedded broker, and the Kafka of `FAUST_TEST_KAFKA` if set.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cluster;
mod coming_and_going;
mod group;
mod messages;
mod outage;
mod placement;
mod tail;
mod topics;
