//! A codec is one value for all topics.
#![allow(unused)]

use faust::prelude::*;

#[codec(name = "rot13")]
struct Rot13 {
    by: u8,
}

fn main() {}
