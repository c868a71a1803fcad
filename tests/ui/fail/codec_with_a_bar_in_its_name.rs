//! A codec name with `|`, which separates the names in a chain.
#![allow(unused)]

use faust::prelude::*;

#[codec(name = "rot|13")]
struct Rot13;

fn main() {}
