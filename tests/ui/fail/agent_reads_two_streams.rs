//! An agent with two streams: an agent has one source.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(clicks: Stream<Click>, views: Stream<Click>) {}

fn main() {}
