//! Two `#[topic]` attributes on one argument.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[topic("a")] #[topic("b")] _pages: Topic<String, Click>) {}

fn main() {}
