//! A misspelt option is answered with those there are.
#![allow(unused)]

use faust::prelude::*;

#[record(serialiser = "json")]
struct Click {
    uri: String,
}

fn main() {}
