//! A `group_by` without a name, on a stream that has got another name.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
    number: i64,
}

#[agent(topic = "clicks")]
async fn count(clicks: Stream<Click>) {
    let popular = clicks.filter(|click| click.number > 100);
    let mut pages = popular.group_by(|click| click.uri.clone());
    while let Some(click) = pages.next().await {}
}

fn main() {}
