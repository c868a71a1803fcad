//! A field of a type that serde does not know.
#![allow(unused)]

use faust::prelude::*;

struct Place {
    x: i64,
}

#[record]
struct Click {
    place: Place,
}

fn main() {}
