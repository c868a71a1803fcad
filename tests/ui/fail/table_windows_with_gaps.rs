//! A step longer than the size: some events would belong to no window.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[table(window = hopping("10s", "1m"))] sums: WindowedTable<String, i64>) {}

fn main() {}
