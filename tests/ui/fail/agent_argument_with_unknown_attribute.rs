//! Attributes of arguments are those of the framework.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(clicks: Stream<Click>, #[topics("pages")] pages: u8) {}

fn main() {}
