//! A codec with fields: one value is shared by all topics.
#![allow(unused)]

use faust::prelude::*;

#[codec(name = "rot13")]
struct Rot13 {
    by: u8,
}

fn main() {}
