//! A field with two defaults.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    #[field(default = 1)]
    #[serde(default)]
    number: i64,
}

fn main() {}
