//! The topic is named by an option.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent("clicks")]
async fn count(clicks: Stream<Click>) {}

fn main() {}
