//! An agent without a source.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(#[topic("pages")] _pages: Topic<String, Click>) {}

fn main() {}
