//! The framework calls an agent, so it is safe.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async unsafe fn count(clicks: Stream<Click>) {}

fn main() {}
