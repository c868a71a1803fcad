//! A misspelt option: the message lists the valid ones.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[topic("pages", partition = 3)] _pages: Topic<String, Click>) {}

fn main() {}
