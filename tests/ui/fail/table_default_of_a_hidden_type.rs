//! A default for a table whose value type is not visible to the macro.
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
