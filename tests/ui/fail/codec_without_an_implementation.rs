//! A codec that does not implement `Codec`.
#![allow(unused)]

use faust::prelude::*;

#[codec(name = "rot13")]
struct Rot13;

fn main() {}
