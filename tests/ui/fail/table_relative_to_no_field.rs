//! A path in `relative_to` whose type does not have the field.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[table(window = tumbling("10s"), relative_to = field(Click::time))] sums: WindowedTable<String, i64>) {}

fn main() {}
