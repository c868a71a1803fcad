//! A sink of a stream agent: sinks require an agent that is called once per event.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks", sink = "pages")]
async fn count(clicks: Stream<Click>) {}

fn main() {}
