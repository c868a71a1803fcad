//! A key that is not a field of the record.
#![allow(unused)]

use faust::prelude::*;

#[record(key = url)]
struct Click {
    uri: String,
    number: i64,
}

fn main() {}
