//! A key of a type that cannot be deserialized.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[window_close(table = "sums")]
async fn closed(key: std::time::Instant, window: Window, total: i64) {}

fn main() {}
