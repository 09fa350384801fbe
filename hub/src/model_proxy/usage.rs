//! Token counts read off an answer that passes by, in pieces of any size. Pure.
//!
//! Only for the hub's own metrics: what a turn used is told by its drone. So a count that cannot be read is not there,
//! and nothing is ever held up or changed.

use serde_json::Value;

/// A line that is longer holds text, not counts.
const LONGEST_LINE: usize = 64 * 1024;

/// Tokens of one call, as the provider counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) input: u64,
    pub(super) output: u64,
}

/// Takes an answer's bytes as they come.
#[derive(Debug, Default)]
pub(super) struct UsageReader {
    line: Vec<u8>,
    /// The line is too long: what is left of it is passed over.
    skips: bool,
    /// The newest counts: servers that repeat them count up.
    tokens: Tokens,
}

impl UsageReader {
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = lines.next() {
            if self.line.len() + piece.len() > LONGEST_LINE {
                self.skips = true;
                self.line.clear();
            }
            if !self.skips {
                self.line.extend_from_slice(piece);
            }
            if lines.peek().is_some() {
                self.end_line();
            }
        }
    }

    /// What was counted. An answer that is one document has no line end at its end.
    pub(super) fn finish(&mut self) -> Tokens {
        self.end_line();
        self.tokens
    }

    fn end_line(&mut self) {
        if !std::mem::take(&mut self.skips)
            && let Some(tokens) = tokens_in(&self.line)
        {
            self.tokens = tokens;
        }
        self.line.clear();
    }
}

fn tokens_in(line: &[u8]) -> Option<Tokens> {
    let line = line.strip_prefix(b"data:").unwrap_or(line);
    let mentions = |word: &[u8]| line.windows(word.len()).any(|window| window == word);
    if !mentions(b"\"usage\"") && !mentions(b"\"eval_count\"") {
        return None;
    }
    let json: Value = serde_json::from_slice(line).ok()?;
    let usage = json.get("usage").filter(|usage| usage.is_object()).unwrap_or(&json);
    let count = |names: [&str; 3]| names.iter().find_map(|name| usage.get(*name)?.as_u64());
    let input = count(["prompt_tokens", "input_tokens", "prompt_eval_count"]);
    let output = count(["completion_tokens", "output_tokens", "eval_count"]);
    (input.is_some() || output.is_some())
        .then(|| Tokens { input: input.unwrap_or(0), output: output.unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(pieces: &[&str]) -> Tokens {
        let mut reader = UsageReader::default();
        for piece in pieces {
            reader.read(piece.as_bytes());
        }
        reader.finish()
    }

    #[test]
    fn counts_are_read_from_either_dialect_however_it_is_cut() {
        let openai = "data: {\"choices\":[{\"delta\":{\"content\":\"usage\"}}],\"usage\":null}\n\n\
                      data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n";
        let ollama = "{\"message\":{\"content\":\"hi\"},\"done\":false}\n\
                      {\"done\":true,\"prompt_eval_count\":7,\"eval_count\":3}\n";
        for text in [openai, ollama] {
            for cut in 0..text.len() {
                let (head, tail) = text.split_at(cut);
                assert_eq!(tokens(&[head, tail]), Tokens { input: 7, output: 3 }, "cut at {cut}");
            }
        }
    }

    #[test]
    fn an_answer_that_is_one_document_counts_too() {
        assert_eq!(
            tokens(&[r#"{"usage":{"input_tokens":2,"output_tokens":1}}"#]),
            Tokens { input: 2, output: 1 }
        );
    }

    #[test]
    fn a_line_without_end_takes_no_memory_and_counts_nothing() {
        let mut reader = UsageReader::default();
        for _ in 0..100 {
            reader.read(&[b'x'; 10_000]);
        }
        assert!(reader.line.capacity() <= 2 * LONGEST_LINE);
        reader.read(b"\n{\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n");
        assert_eq!(reader.finish(), Tokens { input: 1, output: 1 });
    }
}
