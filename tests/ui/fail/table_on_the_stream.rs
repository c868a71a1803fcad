//! `#[table]` on the stream.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[agent(topic = "clicks")]
async fn count(#[table] clicks: Stream<Click>) {}

fn main() {}
