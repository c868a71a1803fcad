//! A codec with the name of a built-in one.
#![allow(unused)]

use faust::prelude::*;

#[codec(name = "json")]
struct Mine;

fn main() {}
