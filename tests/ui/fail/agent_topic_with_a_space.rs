//! A topic name with a space, which Kafka does not allow.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks per page")]
async fn count(clicks: Stream<Click>) {}

fn main() {}
