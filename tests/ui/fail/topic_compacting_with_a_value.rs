//! A flag with a value.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[topic("pages", compacting = true)] _pages: Topic<String, Click>) {}

fn main() {}
