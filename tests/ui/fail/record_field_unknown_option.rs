//! A misspelt option of `#[field]`: the message lists the valid ones.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    #[field(rang = 0..=100)]
    number: i64,
}

fn main() {}
