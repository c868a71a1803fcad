//! A table named after an argument whose name is not valid in a topic name.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, größe: Table<String, i64>) {}

fn main() {}
