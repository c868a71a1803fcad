//! An agent that returns a value but has no sink.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(click: Click) -> String {
    click.uri
}

fn main() {}
