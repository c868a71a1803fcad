//! A range has two ends.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    #[field(range = 100)]
    number: i64,
}

fn main() {}
