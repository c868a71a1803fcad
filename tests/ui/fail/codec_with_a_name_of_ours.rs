//! Built-in names are taken.
#![allow(unused)]

use faust::prelude::*;

#[codec(name = "json")]
struct Mine;

fn main() {}
