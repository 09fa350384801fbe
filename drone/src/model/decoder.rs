//! Bytes of a streamed answer to events, in any dialect. Pure: no clock, no socket.

use super::answer::Answer;
use super::fault::Fault;
use super::frames::{Frame, Frames, Framing};
use super::wire::Wire;
use super::{Completion, ModelEvent};

/// Reads one answer. Fed until the body ends or [`Decoder::is_closed`], then [`Decoder::finish`].
#[derive(Debug)]
pub(super) struct Decoder {
    wire: Wire,
    frames: Frames,
    answer: Answer,
}

impl Decoder {
    pub(super) fn new(wire: Wire, framing: Framing, id_prefix: String) -> Self {
        Self { wire, frames: Frames::new(framing), answer: Answer::new(id_prefix) }
    }

    /// Takes the next bytes of the body. Events that came before a fault are told before it.
    pub(super) fn push(&mut self, bytes: &[u8], events: &mut Vec<ModelEvent>) -> Result<(), Fault> {
        let mut frames = Vec::new();
        let split = self.frames.push(bytes, &mut frames);
        let read = self.read(&frames);
        events.append(&mut self.answer.take_events());
        read.and(split)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.answer.is_closed()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.answer.is_finished()
    }

    /// The body is over, or nothing more of it is wanted.
    pub(super) fn finish(mut self, events: &mut Vec<ModelEvent>) -> Result<Completion, Fault> {
        let mut frames = Vec::new();
        self.frames.finish(&mut frames);
        let read = self.read(&frames);
        events.append(&mut self.answer.take_events());
        read?;
        self.answer.finish()
    }

    fn read(&mut self, frames: &[Frame]) -> Result<(), Fault> {
        for frame in frames {
            if self.answer.is_closed() {
                break;
            }
            match self.wire.read(&frame.data, &mut self.answer) {
                // Half a frame at the end of the body is not garbage: the answer broke off there.
                Err(Fault::Frame { .. }) if frame.is_cut => {}
                read => read?,
            }
            self.answer.check_size()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
