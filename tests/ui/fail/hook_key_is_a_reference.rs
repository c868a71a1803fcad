//! A borrowed key: a hook must own its arguments.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[window_close(table = "sums")]
async fn closed(key: &str, window: Window, total: i64) {}

fn main() {}
