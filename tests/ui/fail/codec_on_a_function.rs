//! `#[codec]` on a function.
#![allow(unused)]

use faust::prelude::*;

#[codec(name = "rot13")]
fn rot13() {}

fn main() {}
