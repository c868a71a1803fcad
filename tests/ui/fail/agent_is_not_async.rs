//! An agent that is not async.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
fn count(clicks: Stream<Click>) {}

fn main() {}
