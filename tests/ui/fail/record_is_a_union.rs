//! A union does not say which field is meant.
#![allow(unused)]

use faust::prelude::*;

#[record]
union Click {
    number: u64,
    text: [u8; 8],
}

fn main() {}
