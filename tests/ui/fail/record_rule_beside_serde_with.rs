//! A rule on a field with a deserializer of its own, which would bypass the rule.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    #[field(range = 0..=100)]
    #[serde(flatten)]
    number: i64,
}

fn main() {}
