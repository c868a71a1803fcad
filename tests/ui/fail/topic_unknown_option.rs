//! A misspelt option is answered with those there are.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<Click>, #[topic("pages", partition = 3)] _pages: Topic<String, Click>) {}

fn main() {}
