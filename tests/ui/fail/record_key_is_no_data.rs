//! A key field of a type that cannot be serialized.
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
