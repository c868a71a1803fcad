//! A sink of an agent that returns no value.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks", sink = "pages")]
async fn count(click: Click) {}

fn main() {}
