//! An output without `#[topic]`.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(clicks: Stream<Click>, pages: Topic<String, Click>) {}

fn main() {}
