//! A default of another type than that of the field.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    #[field(default = true)]
    number: i64,
}

fn main() {}
