//! An option that is specified twice.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks", topic = "views")]
async fn count(clicks: Stream<Click>) {}

fn main() {}
