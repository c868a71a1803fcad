//! A record in the place of an agent.
#![allow(unused)]

use faust::prelude::*;

#[record]
struct Click {
    uri: String,
}

fn main() -> std::process::ExitCode {
    App::new("shop").only::<Click>().main()
}
