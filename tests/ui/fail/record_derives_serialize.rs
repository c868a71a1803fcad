//! A derive of `Serialize`, which `#[record]` derives already.
#![allow(unused)]

use faust::prelude::*;

#[record]
#[derive(Clone, Serialize)]
struct Click {
    uri: String,
}

fn main() {}
