//! A value without an option name.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent("clicks")]
async fn count(clicks: Stream<Click>) {}

fn main() {}
