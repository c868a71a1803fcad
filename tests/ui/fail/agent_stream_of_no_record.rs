//! What a stream carries can be read from bytes.
#![allow(unused)]

use faust::prelude::*;

struct View;

#[agent(topic = "clicks")]
async fn count(_clicks: Stream<View>) {}

fn main() {}
