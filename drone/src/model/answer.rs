//! The answer of one model call as far as it has come.

use super::calls::{Calls, Piece};
use super::fault::Fault;
use super::{Completion, ModelEvent, Stop, TokenUsage};

/// No answer gets near this size; a stream that does is a model that runs in circles, or hostile.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// Collects what a dialect reads out of frames, and tells it as events.
#[derive(Debug)]
pub(super) struct Answer {
    text: String,
    thinking: String,
    calls: Calls,
    usage: Option<TokenUsage>,
    stop: Option<Stop>,
    /// The endpoint has said that nothing more comes.
    is_closed: bool,
    events: Vec<ModelEvent>,
}

impl Answer {
    /// `id_prefix` makes the ids of calls that the endpoint gave none different between answers.
    pub(super) fn new(id_prefix: String) -> Self {
        Self {
            text: String::new(),
            thinking: String::new(),
            calls: Calls::new(id_prefix),
            usage: None,
            stop: None,
            is_closed: false,
            events: Vec::new(),
        }
    }

    /// A fault once the answer has grown beyond all measure.
    pub(super) fn check_size(&self) -> Result<(), Fault> {
        if self.text.len() + self.thinking.len() + self.calls.size() > MAX_ANSWER {
            return Err(Fault::Frame { message: format!("an answer of more than {MAX_ANSWER} bytes") });
        }
        Ok(())
    }

    pub(super) fn text(&mut self, piece: &str) {
        if !piece.is_empty() {
            self.text.push_str(piece);
            self.events.push(ModelEvent::Text(piece.to_owned()));
        }
    }

    pub(super) fn thinking(&mut self, piece: &str) {
        if !piece.is_empty() {
            self.thinking.push_str(piece);
            self.events.push(ModelEvent::Thinking(piece.to_owned()));
        }
    }

    pub(super) fn call(&mut self, piece: Piece<'_>) -> Result<(), Fault> {
        self.calls.push(piece, &mut self.events)
    }

    /// Counts are of the whole answer, so later ones replace earlier ones.
    pub(super) fn usage(&mut self, usage: TokenUsage) {
        self.usage = Some(usage);
    }

    /// A refusal stays one, whatever stop reason follows.
    pub(super) fn stop(&mut self, stop: Stop) {
        if self.stop != Some(Stop::Refusal) {
            self.stop = Some(stop);
        }
    }

    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Nothing more can come: reading on is pointless.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Everything that makes an answer is there; counts may follow.
    pub(super) fn is_finished(&self) -> bool {
        self.is_closed || self.stop.is_some()
    }

    pub(super) fn take_events(&mut self) -> Vec<ModelEvent> {
        std::mem::take(&mut self.events)
    }

    /// The end of the body.
    pub(super) fn finish(self) -> Result<Completion, Fault> {
        if !self.is_finished() {
            return Err(Fault::Truncated);
        }
        // Many endpoints say "stop" after tool calls, and some "tool calls" without any.
        let stop = match self.stop {
            Some(Stop::Length) => Stop::Length,
            Some(Stop::Refusal) => Stop::Refusal,
            Some(Stop::End | Stop::ToolCalls) | None if self.calls.is_empty() => Stop::End,
            Some(Stop::End | Stop::ToolCalls) | None => Stop::ToolCalls,
        };
        Ok(Completion {
            text: self.text,
            thinking: Some(self.thinking).filter(|thinking| !thinking.is_empty()),
            calls: self.calls.finish()?,
            usage: self.usage,
            stop,
        })
    }
}
