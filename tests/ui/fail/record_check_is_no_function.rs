//! A closure as a check: a check is the path of a function.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    #[field(check = |n| n > 0)]
    number: i64,
}

fn main() {}
