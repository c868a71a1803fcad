//! An output before the value: the key, the window and the value come first.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[window_close(table = "sums")]
async fn closed(key: String, window: Window, #[topic("out")] out: Topic<String, i64>) {}

fn main() {}
