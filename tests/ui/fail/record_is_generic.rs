//! A generic record: a record has one name and one model.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click<T> {
    number: T,
}

fn main() {}
