//! A topic that is listed twice.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topics = ["clicks", "clicks"])]
async fn count(clicks: Stream<Click>) {}

fn main() {}
