//! The option `topics` with a value that is not a list.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topics = "clicks")]
async fn count(clicks: Stream<Click>) {}

fn main() {}
