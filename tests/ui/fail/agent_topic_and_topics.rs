//! The options `topic` and `topics` together.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks", topics = ["views"])]
async fn count(clicks: Stream<Click>) {}

fn main() {}
