//! A list of topics names one at least.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topics = [])]
async fn count(clicks: Stream<Click>) {}

fn main() {}
