//! What an agent is called with can be read from bytes.
#![allow(unused)]

use faust::prelude::*;

struct View;

#[agent(topic = "clicks")]
async fn count(_view: View) {}

fn main() {}
