//! A table name with a space, which Kafka does not allow in the name of the changelog topic.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[window_close(table = "sums per page")]
async fn closed(key: String, window: Window, total: i64) {}

fn main() {}
