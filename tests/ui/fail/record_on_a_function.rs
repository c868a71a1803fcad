//! `#[record]` on a function.
#![allow(unused)]

use faust::prelude::*;

#[record]
fn click() {}

fn main() {}
