//! The options `serializer` and `codec`, two names of one option, together.
#![allow(unused)]

use faust::prelude::*;

#[record(serializer = "json", codec = "json")]
struct Click {
    uri: String,
}

fn main() {}
