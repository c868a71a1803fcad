//! An output says which topic it is.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(clicks: Stream<Click>, pages: Topic<String, Click>) {}

fn main() {}
