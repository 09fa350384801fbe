//! The commands that talk to a hub, one file each.

pub(crate) mod attach;
pub(crate) mod drones;
pub(crate) mod login;
pub(crate) mod prompt;
pub(crate) mod providers;
pub(crate) mod sessions;
pub(crate) mod users;

use std::io::{self, IsTerminal as _, Read as _};

use anyhow::{Context as _, ensure};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

use crate::console::Console;

/// Asks for a secret without showing it; read to its end where standard input is no terminal.
pub(crate) fn secret(console: &mut Console, what: &str) -> anyhow::Result<String> {
    let stdin = io::stdin();
    let mut text = String::new();
    if stdin.is_terminal() {
        console.note(&format!("{what}:"));
        let shown = tcgetattr(&stdin).context("failed to read the terminal's settings")?;
        let mut hidden = shown.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&stdin, SetArg::TCSAFLUSH, &hidden).context("failed to hide what is typed")?;
        let read = stdin.read_line(&mut text);
        tcsetattr(&stdin, SetArg::TCSAFLUSH, &shown).context("failed to show again what is typed")?;
        read?;
    } else {
        stdin.lock().take(64 * 1024).read_to_string(&mut text)?;
    }
    let text = text.trim_end_matches(['\n', '\r']).to_owned();
    ensure!(!text.is_empty(), "{what}: nothing was given");
    Ok(text)
}
