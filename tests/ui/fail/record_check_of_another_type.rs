//! A check that takes a reference to another type than that of the field.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    #[field(check = even)]
    uri: String,
}

fn even(_number: &u8) -> std::result::Result<(), String> {
    Ok(())
}

fn main() {}
