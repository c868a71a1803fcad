//! An agent with only table arguments: a table is not a source.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[agent(topic = "clicks")]
async fn count(counts: Table<String, u64>) {}

fn main() {}
