//! A table name without the option name `table`.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[window_close("sums")]
async fn closed(key: String, window: Window, total: i64) {}

fn main() {}
