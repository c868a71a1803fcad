//! A generic hook: a hook is registered once, so its types must be known.
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
