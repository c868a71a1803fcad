//! The key is one of the fields.
#![allow(unused)]

use faust::prelude::*;

#[record(key = url)]
struct Click {
    uri: String,
    number: i64,
}

fn main() {}
