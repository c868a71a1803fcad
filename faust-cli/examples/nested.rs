//! A program that starts a runtime before the app does, as `#[tokio::main]` would. The app refuses that.

use std::process::ExitCode;

use faust_core::app::App;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime for one thread");
    runtime.block_on(async { faust_cli::main(App::new("nested")) })
}
