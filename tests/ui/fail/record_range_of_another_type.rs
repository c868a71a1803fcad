//! A range is of the type of its field.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    #[field(range = 0..=100)]
    uri: String,
}

fn main() {}
