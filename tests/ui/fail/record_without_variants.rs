//! A message is one of the variants.
#![allow(unused)]

use faust::prelude::*;

#[record]
enum Click {}

fn main() {}
