//! A record owns its fields.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click<'a> {
    uri: &'a str,
}

fn main() {}
