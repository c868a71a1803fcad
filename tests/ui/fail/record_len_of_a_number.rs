//! The rule `len` on a number.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    #[field(len = 1..=20)]
    number: i64,
}

fn main() {}
