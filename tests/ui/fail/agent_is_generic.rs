//! A generic agent: an agent is registered once, so its types must be known.
#![allow(unused)]

use faust::prelude::*;

#[agent(topic = "clicks")]
async fn count<V>(clicks: Stream<V>) {}

fn main() {}
