//! A hook for late events that takes a value.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[window_late(table = "sums")]
async fn late(key: String, window: Window, total: i64) {}

fn main() {}
