//! An unknown option: the message lists the valid ones.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[window_close(table = "sums", name = "closed")]
async fn closed(key: String, window: Window, total: i64) {}

fn main() {}
