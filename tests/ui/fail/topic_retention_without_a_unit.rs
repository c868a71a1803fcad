//! A duration without a unit.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[topic("pages", retention = "7")] _pages: Topic<String, Click>) {}

fn main() {}
