//! A record in the place of a hook.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

fn main() -> std::process::ExitCode {
    App::new("shop").hook::<Click>().main()
}
