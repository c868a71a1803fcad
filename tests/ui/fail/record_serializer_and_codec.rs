//! Two names of one option are not both given.
#![allow(unused)]

use faust::prelude::*;

#[record(serializer = "json", codec = "json")]
struct Click {
    uri: String,
}

fn main() {}
