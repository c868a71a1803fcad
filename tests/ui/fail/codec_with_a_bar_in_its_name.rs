//! A bar separates the names of a chain.
#![allow(unused)]

use faust::prelude::*;

#[codec(name = "rot|13")]
struct Rot13;

fn main() {}
