//! Bytes of a response body to frames: server-sent events, lines of JSON, or one document.
//!
//! Works on whatever pieces the network yields: a line, a line end or a character may be split anywhere.

use super::fault::Fault;

/// A single frame never gets near this size; an endpoint that sends more is broken or hostile.
const MAX_FRAME: usize = 16 * 1024 * 1024;

/// How a body is cut into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// `text/event-stream`, or one JSON document where an endpoint does not stream.
    Sse,
    /// One JSON document a line.
    Lines,
}

/// The content of one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) data: String,
    /// The body ended in the middle of this frame's line. It counts only if its content is whole after all.
    pub(super) is_cut: bool,
}

/// An incremental splitter. It is fed until the body ends, then [`Frames::finish`] is called once.
#[derive(Debug)]
pub(super) struct Frames {
    framing: Framing,
    /// The line that has not ended yet; in a document everything so far.
    line: Vec<u8>,
    /// The last byte was a carriage return that ended a line: a line feed right after it belongs to that end.
    after_return: bool,
    /// No line with content has ended yet: a byte order mark may stand here, and a brace begins a document.
    at_start: bool,
    /// What should be an event stream is one document.
    is_document: bool,
    /// The `data` lines of the event that has not ended yet.
    data: Option<String>,
}

impl Frames {
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            framing,
            line: Vec::new(),
            after_return: false,
            at_start: true,
            is_document: false,
            data: None,
        }
    }

    /// Takes the next bytes and appends the frames that they complete.
    pub(super) fn push(&mut self, mut bytes: &[u8], frames: &mut Vec<Frame>) -> Result<(), Fault> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_return) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
            let end = if self.is_document { None } else { bytes.iter().position(is_end) };
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            let pending = self.line.len() + piece.len() + self.data.as_ref().map_or(0, String::len);
            if pending > MAX_FRAME {
                return Err(unreadable(format!("a frame of more than {MAX_FRAME} bytes")));
            }
            self.line.extend_from_slice(piece);
            let Some(end) = end else { return Ok(()) };
            self.after_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_line(frames)?;
        }
        Ok(())
    }

    /// The body is over: what is left may be a last frame whose line end is missing.
    pub(super) fn finish(&mut self, frames: &mut Vec<Frame>) {
        let line = std::mem::take(&mut self.line);
        // A character that is cut in two is no more than that: the answer broke off there.
        let line = std::str::from_utf8(self.without_mark(&line)).unwrap_or_default();
        let cut = |data: &str| Frame { data: data.to_owned(), is_cut: true };
        match self.framing {
            Framing::Lines => frames.push(cut(line)),
            Framing::Sse => {
                frames.extend(self.data.take().map(|data| cut(&data)));
                let is_document = self.is_document || (self.at_start && line.trim_start().starts_with('{'));
                let data = if is_document { Some(line) } else { line.strip_prefix("data:") };
                frames.extend(data.map(|data| cut(data.trim_start())));
            }
        }
    }

    fn end_line(&mut self, frames: &mut Vec<Frame>) -> Result<(), Fault> {
        let bytes = std::mem::take(&mut self.line);
        let line = std::str::from_utf8(self.without_mark(&bytes))
            .map_err(|_| unreadable("bytes that are not UTF-8".to_owned()))?;
        match self.framing {
            Framing::Lines => {
                if !line.trim().is_empty() {
                    frames.push(Frame { data: line.to_owned(), is_cut: false });
                }
            }
            Framing::Sse if self.at_start && line.trim_start().starts_with('{') => {
                self.is_document = true;
                self.line = format!("{line}\n").into_bytes();
            }
            Framing::Sse => self.sse_line(line, frames),
        }
        self.at_start &= line.trim().is_empty();
        Ok(())
    }

    fn sse_line(&mut self, line: &str, frames: &mut Vec<Frame>) {
        if line.is_empty() {
            frames.extend(self.data.take().map(|data| Frame { data, is_cut: false }));
        } else if let Some(value) = line.strip_prefix("data:") {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            }
        } else if line.starts_with('{') {
            // Some servers put an error into the stream as a bare JSON line.
            frames.push(Frame { data: line.to_owned(), is_cut: false });
        }
        // Everything else is a comment or a field that no dialect needs: event, id, retry.
    }

    fn without_mark<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        if self.at_start { line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line) } else { line }
    }
}

fn unreadable(message: String) -> Fault {
    Fault::Frame { message }
}

#[cfg(test)]
mod tests;
