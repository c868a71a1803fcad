//! A default needs to know the type of the values.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

type Sums = Table<String, i64>;

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[table(default = 10)] sums: Sums) {}

fn main() {}
