//! A key can be written as bytes.
#![allow(unused)]

use faust::prelude::*;

#[record(key = uri)]
struct Click {
    #[serde(skip)]
    uri: Uri,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Uri;

fn main() {}
