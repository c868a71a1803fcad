//! A key of an enum: its variants have no common field.
#![allow(unused)]

use faust::prelude::*;

#[record(key = uri)]
enum Click {
    Page { uri: String },
}

fn main() {}
