//! A check that returns neither a `bool` nor a `Result`.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    #[field(check = parity)]
    number: i64,
}

fn parity(number: &i64) -> i64 {
    number % 2
}

fn main() {}
