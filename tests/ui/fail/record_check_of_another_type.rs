//! A check takes a reference to the value of its field.
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
