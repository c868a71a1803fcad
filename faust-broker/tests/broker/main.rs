//! Tests of the broker over its socket: the protocol, restarts, and librdkafka as a client.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod admin;
#[path = "../support/by_id.rs"]
mod by_id;
mod clients;
mod damage;
mod descriptors;
mod full;
mod kills;
mod process;
mod codecs;
mod compaction;
mod consumer_group_requests;
mod consumer_scene;
mod offset_lookups;
mod offsets_by_id;
mod peer;
mod settings;
mod restart;
mod tools;
mod transaction_kills;
mod transaction_requests;
mod transactions;
mod wire;
