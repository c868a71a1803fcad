//! One way to name topics at a time.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks", topics = ["views"])]
async fn count(clicks: Stream<Click>) {}

fn main() {}
