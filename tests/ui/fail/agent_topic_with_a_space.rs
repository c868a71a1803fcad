//! Kafka takes no spaces in the names of topics.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks per page")]
async fn count(clicks: Stream<Click>) {}

fn main() {}
