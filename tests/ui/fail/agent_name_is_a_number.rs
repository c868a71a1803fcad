//! An agent name that is not a string literal.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks", name = 7)]
async fn count(clicks: Stream<Click>) {}

fn main() {}
