//! Agents of one event at a time move between threads as well.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(_click: Click) {
    let total = std::rc::Rc::new(1);
    std::future::ready(()).await;
    drop(total);
}

fn main() {}
