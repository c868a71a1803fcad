//! The rule `range` with a value that is not a range.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    #[field(range = 100)]
    number: i64,
}

fn main() {}
