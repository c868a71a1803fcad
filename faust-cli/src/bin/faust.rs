//! The program `faust`: the commands that need no agents, such as `new` and `broker`.

fn main() -> std::process::ExitCode {
    faust_cli::tool()
}
