//! `#[table]` and `#[topic]` on one argument.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[topic("pages")] #[table] _pages: Table<String, u64>) {}

fn main() {}
