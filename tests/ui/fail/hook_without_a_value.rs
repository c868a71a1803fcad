//! A hook with two arguments: the key, the window and the value are required.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[window_close(table = "sums")]
async fn closed(key: String, window: Window) {}

fn main() {}
