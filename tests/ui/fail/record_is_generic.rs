//! A record has one name on the wire.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click<T> {
    number: T,
}

fn main() {}
