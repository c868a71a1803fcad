//! An `impl Trait` argument: arguments must have a concrete type.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(clicks: Stream<Click>, hook: impl Fn() + Send) {}

fn main() {}
