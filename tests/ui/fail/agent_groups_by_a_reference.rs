//! A key that is a reference into the value.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

#[agent(topic = "clicks")]
async fn count(clicks: Stream<Click>) {
    let mut clicks = clicks.group_by("uri", |click| &click.uri);
    while let Some(click) = clicks.next().await {}
}

fn main() {}
