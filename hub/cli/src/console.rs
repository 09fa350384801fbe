//! The terminal: the one place that writes to standard output and standard error.

use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;

/// Writers for what the user asked for and for what is said beside it.
pub(crate) struct Console {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    pub style: Style,
}

/// How text may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Escape sequences are understood.
    Ansi,
    Plain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Dim,
    Bold,
    Good,
    Bad,
    Accent,
}

impl Console {
    pub(crate) fn standard() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let style = if io::stdout().is_terminal() && !plain { Style::Ansi } else { Style::Plain };
        Self { out: Box::new(io::stdout()), err: Box::new(io::stderr()), style }
    }

    /// At once, also without a line's end: text streams.
    pub(crate) fn out(&mut self, text: &str) -> io::Result<()> {
        self.bytes(text.as_bytes())
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.flush()
    }

    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        self.out(&format!("{text}\n"))
    }

    pub(crate) fn json<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        self.line(&serde_json::to_string(value)?)
    }

    /// Beside the point: progress, hints, what went wrong.
    pub(crate) fn note(&mut self, text: &str) {
        // Nobody is left to tell when standard error is closed.
        let _closed = writeln!(self.err, "{text}").and_then(|()| self.err.flush());
    }
}

impl Style {
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Dim => "2",
            Paint::Bold => "1",
            Paint::Good => "32",
            Paint::Bad => "31",
            Paint::Accent => "36",
        };
        match self {
            Self::Ansi => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_carries_no_escape_sequences() {
        assert_eq!(Style::Plain.paint(Paint::Bad, "x"), "x");
        assert_eq!(Style::Ansi.paint(Paint::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
    }
}
