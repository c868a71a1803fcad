//! Two independent errors: both are reported, each at its location.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topik = "clicks", name = 7)]
fn count(clicks: Stream<Click>) {}

fn main() {}
