//! `#[topic]` with options but without a topic name.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[topic(partitions = 3)] _pages: Topic<String, Click>) {}

fn main() {}
