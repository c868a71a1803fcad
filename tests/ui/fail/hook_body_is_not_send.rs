//! A value that is not `Send` is held over an await: hooks move between threads.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    at: i64,
    list: Vec<i64>,
}

#[window_close(table = "sums")]
async fn closed(key: String, window: Window, total: i64) {
    let total = std::rc::Rc::new(total);
    std::future::ready(()).await;
    drop(total);
}

fn main() {}
