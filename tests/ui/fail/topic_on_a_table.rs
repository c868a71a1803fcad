//! `#[topic]` on a table.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[topic("pages")] pages: Table<String, u64>) {}

fn main() {}
