//! A table of values that cannot be serialized.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, sums: Table<String, std::time::Instant>) {}

fn main() {}
