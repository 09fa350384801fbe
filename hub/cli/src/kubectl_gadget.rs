//! `kubectl gadget`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::kubectl::main(std::env::args_os())
}
