//! A key field in quotes.
#![allow(unused)]

use faust::prelude::*;

#[record(key = "uri")]
struct Click {
    uri: String,
}

fn main() {}
