//! A small single-node broker that speaks the Kafka protocol, for learning, tests and one-machine services.
//!
//! It has two layers. [`core`] is the broker as a state machine, without socket, thread or clock. The listener puts it
//! on a loopback port, where librdkafka, kcat, Java and Python clients take it for a Kafka.

pub mod core;
