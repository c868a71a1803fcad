//! An agent owns its arguments.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(click: &Click) {}

fn main() {}
