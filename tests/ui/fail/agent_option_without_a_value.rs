//! The option `topic` without a value.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic)]
async fn count(clicks: Stream<Click>) {}

fn main() {}
