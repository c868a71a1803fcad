//! A topic option says which topic.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic)]
async fn count(clicks: Stream<Click>) {}

fn main() {}
