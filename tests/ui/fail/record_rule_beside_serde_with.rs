//! A field that reads itself checks itself.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    #[field(range = 0..=100)]
    #[serde(flatten)]
    number: i64,
}

fn main() {}
