//! A union as a record: its bytes do not identify the active field.
#![allow(unused)]

use faust::prelude::*;

#[record]
union Click {
    number: u64,
    text: [u8; 8],
}

fn main() {}
