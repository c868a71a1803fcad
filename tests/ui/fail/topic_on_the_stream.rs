//! `#[topic]` on the stream, whose topic is set by `#[agent]`.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent()]
async fn count(#[topic("clicks")] clicks: Stream<Click>) {}

fn main() {}
