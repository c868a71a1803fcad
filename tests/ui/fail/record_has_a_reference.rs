//! Fields that are references.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: &str,
    referrer: Option<&'static str>,
    bytes: &[u8],
}

fn main() {}
