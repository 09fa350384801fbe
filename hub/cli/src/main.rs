//! `gadget`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    // The drone's own command line, not to be parsed twice; started by the hub rather than by people.
    if std::env::args_os().nth(1).is_some_and(|word| word == "drone") {
        return drone::main(words.by_ref().skip(2), "gadget drone");
    }
    cli::main(words)
}
