//! The rules of a field stand in one attribute.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    #[field(default = 1)]
    #[field(range = 0..=100)]
    number: i64,
}

fn main() {}
