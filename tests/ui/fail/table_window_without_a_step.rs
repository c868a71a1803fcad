//! A hopping window without a step.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[table(window = hopping("10s"))] sums: WindowedTable<String, i64>) {}

fn main() {}
