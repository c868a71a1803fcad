//! A time can be read from some types only.
#![allow(unused)]

use faust::prelude::*;

#[record(timestamp = done)]
struct Click {
    done: bool,
}

fn main() {}
