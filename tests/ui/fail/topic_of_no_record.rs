//! A topic of values that cannot be serialized.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

struct View;

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[topic("pages")] _pages: Topic<String, View>) {}

fn main() {}
