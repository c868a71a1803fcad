//! `#[table]` on a topic.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[table(name = "pages")] pages: Topic<String, u64>) {}

fn main() {}
