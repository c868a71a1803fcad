//! `#[table]` on a type that is not a table.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[table(name = "sums")] sums: std::collections::HashMap<String, i64>) {}

fn main() {}
