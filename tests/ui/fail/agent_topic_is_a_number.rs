//! A topic name that is neither a string literal nor a constant.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = 3)]
async fn count(clicks: Stream<Click>) {}

fn main() {}
