//! `#[agent]` on a struct.
#![allow(unused)]

use faust::prelude::*;

#[agent(topic = "clicks")]
struct Count;

fn main() {}
