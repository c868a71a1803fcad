//! An argument has a type that can be named.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(clicks: Stream<Click>, hook: impl Fn() + Send) {}

fn main() {}
