//! An empty range.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    #[field(range = 100..=0)]
    number: i64,
}

fn main() {}
