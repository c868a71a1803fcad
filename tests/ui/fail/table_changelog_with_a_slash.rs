//! A changelog topic name with a slash, which Kafka does not allow.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[table(changelog_topic = "a/b")] sums: Table<String, i64>) {}

fn main() {}
