//! A trait in `no_derive` that the macro does not derive.
#![allow(unused)]

use faust::prelude::*;

#[record(no_derive(Eq))]
struct Click {
    uri: String,
}

fn main() {}
