//! A timestamp field of a type that cannot hold a time.
#![allow(unused)]

use faust::prelude::*;

#[record(timestamp = done)]
struct Click {
    done: bool,
}

fn main() {}
