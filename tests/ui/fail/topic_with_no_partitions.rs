//! A topic with zero partitions.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[topic("pages", partitions = 0)] _pages: Topic<String, Click>) {}

fn main() {}
