//! An unknown attribute on an argument.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(clicks: Stream<Click>, #[topics("pages")] pages: u8) {}

fn main() {}
