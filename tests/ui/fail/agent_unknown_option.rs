//! A misspelt option is answered with those there are.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topik = "clicks")]
async fn count(clicks: Stream<Click>) {}

fn main() {}
