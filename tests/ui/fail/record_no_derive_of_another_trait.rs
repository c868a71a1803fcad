//! Only the traits that the macro derives can be left out.
#![allow(unused)]

use faust::prelude::*;

#[record(no_derive(Eq))]
struct Click {
    uri: String,
}

fn main() {}
