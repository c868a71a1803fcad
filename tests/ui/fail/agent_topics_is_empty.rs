//! An empty list of topics.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topics = [])]
async fn count(clicks: Stream<Click>) {}

fn main() {}
