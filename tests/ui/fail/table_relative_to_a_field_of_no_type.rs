//! The path of a field whose type is not in scope.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[table(window = tumbling("10s"), relative_to = field(View::at))] sums: WindowedTable<String, i64>) {}

fn main() {}
