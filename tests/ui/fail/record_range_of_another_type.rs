//! A range of another type than that of the field.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    #[field(range = 0..=100)]
    uri: String,
}

fn main() {}
