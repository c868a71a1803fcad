//! A record is a type.
#![allow(unused)]

use faust::prelude::*;

#[record]
fn click() {}

fn main() {}
