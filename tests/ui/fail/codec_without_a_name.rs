//! A codec without a name.
#![allow(unused)]

use faust::prelude::*;

#[codec]
struct Rot13;

fn main() {}
