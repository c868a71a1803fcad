//! A default is of the type of its field.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    #[field(default = true)]
    number: i64,
}

fn main() {}
