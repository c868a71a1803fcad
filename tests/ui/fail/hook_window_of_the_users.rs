//! A type named `Window` that is not the framework's.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

mod mine {
    pub struct Window;
}

#[window_close(table = "sums")]
async fn closed(key: String, window: mine::Window, total: i64) {}

fn main() {}
