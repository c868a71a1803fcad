//! The future of an agent that is called once per event is not `Send`.
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
