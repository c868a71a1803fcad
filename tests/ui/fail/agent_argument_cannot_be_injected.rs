//! An argument of a type that the framework cannot inject.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, _limit: std::time::Instant) {}

fn main() {}
