//! A misspelt option: the message lists the valid ones.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topik = "clicks")]
async fn count(clicks: Stream<Click>) {}

fn main() {}
