//! A topic name with a slash, which Kafka does not allow.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[topic("a/b")] _pages: Topic<String, Click>) {}

fn main() {}
