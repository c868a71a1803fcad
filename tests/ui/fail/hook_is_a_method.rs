//! A method as a hook.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

impl Click {
    #[window_close(table = "sums")]
    async fn closed(&self, key: String, window: Window, total: i64) {}
}

fn main() {}
