//! A window on a `Table`: windows require a `WindowedTable`.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[table(window = tumbling("10s"))] sums: Table<String, i64>) {}

fn main() {}
