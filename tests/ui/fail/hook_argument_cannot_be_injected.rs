//! An argument of a type that the framework cannot inject.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[window_close(table = "sums")]
async fn closed(key: String, window: Window, total: i64, limit: std::time::Instant) {}

fn main() {}
