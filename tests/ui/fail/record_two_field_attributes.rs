//! Two `#[field]` attributes on one field.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    #[field(default = 1)]
    #[field(range = 0..=100)]
    number: i64,
}

fn main() {}
