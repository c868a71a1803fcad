//! Several topics are a list.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topics = "clicks")]
async fn count(clicks: Stream<Click>) {}

fn main() {}
