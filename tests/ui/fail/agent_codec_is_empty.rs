//! An empty codec name.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks", value_codec = "")]
async fn count(clicks: Stream<Click>) {}

fn main() {}
