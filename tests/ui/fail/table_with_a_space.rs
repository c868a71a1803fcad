//! A table name with a space, which Kafka does not allow in the name of the changelog topic.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[table(name = "sums per page")] sums: Table<String, i64>) {}

fn main() {}
