//! Where a turn's events go: as text for a person, or as JSON for a machine.

use std::io;

use protocol::document::{Block, ChatTurn};
use serde::Serialize;
use serde_json::value::RawValue;

use super::render::Transcript;
use crate::console::{Console, Paint};
use crate::live::WireEvent;

pub(crate) struct Output<'a> {
    console: &'a mut Console,
    mode: Mode,
}

enum Mode {
    Json,
    Text(Transcript),
}

#[derive(Serialize)]
struct Line<'a> {
    event: &'a str,
    args: &'a [Box<RawValue>],
}

impl<'a> Output<'a> {
    pub(crate) fn new(console: &'a mut Console, json: bool) -> Self {
        let mode = if json { Mode::Json } else { Mode::Text(Transcript::new(console.style)) };
        Self { console, mode }
    }

    /// Everything goes to a machine; a person sees the turn that is followed.
    pub(crate) fn event(&mut self, event: &WireEvent, followed: bool) -> io::Result<()> {
        let WireEvent { name, args, turn } = event;
        match &mut self.mode {
            Mode::Json => self.console.json(&Line { event: name, args }),
            Mode::Text(transcript) => match turn {
                Some((event, meta)) if followed => {
                    let text = transcript.show(event, meta.at);
                    self.console.out(&text)
                }
                Some(_) => Ok(()),
                None => {
                    if let Some(text) = aside(name, args) {
                        self.note(&text);
                    }
                    Ok(())
                }
            },
        }
    }

    /// The answer of a turn whose events were missed.
    pub(crate) fn stored(&mut self, turn: &ChatTurn) -> io::Result<()> {
        match &self.mode {
            Mode::Json => self.console.json(&serde_json::json!({ "event": "turn", "args": [turn] })),
            Mode::Text(_) => {
                let answer: String = turn.blocks.iter().filter_map(responding).collect();
                self.note("the connection was away for too long; this is the whole answer");
                self.console.line(&answer)
            }
        }
    }

    /// A turn that was over before this terminal came. A machine asks the hub for those.
    pub(crate) fn past(&mut self, turn: &ChatTurn) -> io::Result<()> {
        let Mode::Text(_) = self.mode else { return Ok(()) };
        let prompt = self.console.style.paint(Paint::Bold, &format!("> {}", turn.prompts.user));
        let answer: String = turn.blocks.iter().filter_map(responding).collect();
        self.console.line(&format!("{prompt}\n{answer}\n"))
    }

    pub(crate) fn note(&mut self, text: &str) {
        if let Mode::Text(transcript) = &mut self.mode {
            // A note amid a line would tear it.
            if let Some(line_end) = transcript.break_line() {
                let _closed = self.console.out(line_end);
            }
        }
        let text = self.console.style.paint(Paint::Dim, text);
        self.console.note(&text);
    }

    pub(crate) fn end(self) -> io::Result<()> {
        match self.mode {
            Mode::Json => Ok(()),
            Mode::Text(mut transcript) => transcript.break_line().map_or(Ok(()), |end| self.console.out(end)),
        }
    }
}

fn responding(block: &Block) -> Option<&str> {
    match block {
        Block::Responding { created_at: _, content } => Some(content),
        Block::Thinking { .. } | Block::Tool { .. } => None,
    }
}

/// What is worth a line beside the transcript: what the system is doing while the person waits.
fn aside(name: &str, args: &[Box<RawValue>]) -> Option<String> {
    match name {
        protocol::ide::name::STATUS => serde_json::from_str(args.first()?.get()).ok(),
        protocol::ide::name::DRONE_STATUS => {
            let status: protocol::ide::DroneStatusEvent = serde_json::from_str(args.first()?.get()).ok()?;
            status.message
        }
        _ => None,
    }
}
