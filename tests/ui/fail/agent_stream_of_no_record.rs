//! A stream of a type that cannot be deserialized.
#![allow(unused)]

use faust::prelude::*;

struct View;

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<View>) {}

fn main() {}
