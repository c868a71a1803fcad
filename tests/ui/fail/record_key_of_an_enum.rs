//! The variants of an enum share no field.
#![allow(unused)]

use faust::prelude::*;

#[record(key = uri)]
enum Click {
    Page { uri: String },
}

fn main() {}
