//! The framework can make only what it knows.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, _limit: std::time::Instant) {}

fn main() {}
