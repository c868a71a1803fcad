//! A record with a borrowed field: records must own their fields.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click<'a> {
    uri: &'a str,
}

fn main() {}
