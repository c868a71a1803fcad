//! A misspelt rule is answered with those there are.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    #[field(rang = 0..=100)]
    number: i64,
}

fn main() {}
