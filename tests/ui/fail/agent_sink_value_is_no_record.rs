//! A return value that cannot be serialized for its sink.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

struct View;

#[agent(topic = "clicks", sink = "views")]
async fn count(_click: Click) -> Result<View> {
    Ok(View)
}

fn main() {}
