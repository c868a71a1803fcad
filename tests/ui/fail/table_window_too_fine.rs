//! A window size that is not a whole number of milliseconds.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[table(window = tumbling("1500us"))] sums: WindowedTable<String, i64>) {}

fn main() {}
