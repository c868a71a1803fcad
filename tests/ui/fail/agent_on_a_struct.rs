//! An agent is a function.
#![allow(unused)]

use faust::prelude::*;

#[agent(topic = "clicks")]
struct Count;

fn main() {}
