//! A sink is for agents that return a value for each event.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks", sink = "pages")]
async fn count(clicks: Stream<Click>) {}

fn main() {}
