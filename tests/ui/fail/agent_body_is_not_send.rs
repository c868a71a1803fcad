//! A value that is not `Send` is held over an await: agents move between threads.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(mut clicks: Stream<Click>) {
    let total = std::rc::Rc::new(1);
    while let Some(_click) = clicks.next().await {}
    drop(total);
}

fn main() {}
