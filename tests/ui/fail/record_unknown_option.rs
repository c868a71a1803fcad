//! A misspelt option: the message lists the valid ones.
#![allow(unused)]

use faust::prelude::*;

#[record(serialiser = "json")]
struct Click {
    uri: String,
}

fn main() {}
