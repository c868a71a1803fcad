//! A stream gets its topic from the agent.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent()]
async fn count(#[topic("clicks")] clicks: Stream<Click>) {}

fn main() {}
