//! An output without `#[topic]`.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[window_close(table = "sums")]
async fn closed(key: String, window: Window, total: i64, out: Topic<String, i64>) {}

fn main() {}
