//! `gadget-drone`: the drone as a binary of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    drone::main(std::env::args_os().skip(1), "gadget-drone")
}
