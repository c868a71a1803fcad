//! A hook with a stream: a hook is called by its table.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[window_close(table = "sums")]
async fn closed(key: String, window: Window, total: i64, clicks: Stream<Click>) {}

fn main() {}
