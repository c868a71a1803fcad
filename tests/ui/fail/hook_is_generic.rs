//! A hook is registered once.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[window_close(table = "sums")]
async fn closed<T>(key: String, window: Window, total: T) {}

fn main() {}
