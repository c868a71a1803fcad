//! Tests of the broker over its socket: the protocol, restarts, and librdkafka as a client.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod clients;
mod full;
mod restart;
mod wire;
