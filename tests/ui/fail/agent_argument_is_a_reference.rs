//! A borrowed argument: an agent must own its arguments.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(click: &Click) {}

fn main() {}
