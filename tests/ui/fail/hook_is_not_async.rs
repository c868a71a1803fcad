//! A hook that is not async.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[window_close(table = "sums")]
fn closed(key: String, window: Window, total: i64) {}

fn main() {}
