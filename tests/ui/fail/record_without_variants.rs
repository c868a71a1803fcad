//! An enum without variants: no message can contain it.
#![allow(unused)]

use faust::prelude::*;

#[record]
enum Click {}

fn main() {}
