//! A hook for closed windows that takes a late event.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[window_close(table = "sums")]
async fn closed(key: String, window: Window, event: LateEvent) {}

fn main() {}
