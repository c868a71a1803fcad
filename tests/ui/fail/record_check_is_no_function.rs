//! A check is named, not written out.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    #[field(check = |n| n > 0)]
    number: i64,
}

fn main() {}
