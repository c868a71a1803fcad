//! A hook that returns a value, which has no destination.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[window_close(table = "sums")]
async fn closed(key: String, window: Window, total: i64) -> i64 {
    total
}

fn main() {}
