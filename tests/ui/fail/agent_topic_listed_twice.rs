//! A topic is read once.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topics = ["clicks", "clicks"])]
async fn count(clicks: Stream<Click>) {}

fn main() {}
