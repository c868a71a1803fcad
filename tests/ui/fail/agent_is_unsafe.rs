//! An unsafe agent: the framework calls it from safe code.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async unsafe fn count(clicks: Stream<Click>) {}

fn main() {}
