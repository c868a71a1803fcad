//! Serde is derived already.
#![allow(unused)]

use faust::prelude::*;

#[record]
#[derive(Clone, Serialize)]
struct Click {
    uri: String,
}

fn main() {}
