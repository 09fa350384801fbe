//! `read`: shows a text file with line numbers.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _};

use async_trait::async_trait;
use protocol::ids::CallId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::arguments::{Arguments, named_path, read_plan};
use super::blocking::blocking;
use super::seen::file_data;
use super::walk::readable;
use super::{Effect, Intent, Outcome, Resource, Tool, ToolContext, ToolError, ToolSpec, Verdict};
use crate::path::PathError;
use crate::path::content::hex;

/// Lines and bytes shown in one call.
const LINES: u64 = 2000;
const BYTES: usize = 48 * 1024;
/// Bytes shown of one line.
const LINE: usize = 2000;
/// A file is looked at up to here for its hash and its number of lines.
const LOOK: u64 = 256 * 1024 * 1024;
/// A zero byte before this place makes a file binary.
const SNIFF: usize = 8 * 1024;

pub(crate) struct Read;

#[derive(Serialize, Deserialize)]
struct Plan {
    path: String,
    /// Counts from 1.
    offset: u64,
    limit: u64,
}

#[async_trait]
impl Tool for Read {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "read",
            description: "Shows a text file, each line after its number and a tab. Long files come in parts: go on \
                          with `offset`.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "path": { "type": "string", "description": "Relative to the project root." },
                    "offset": { "type": "integer", "description": "First line to show, from 1; default 1." },
                    "limit": { "type": "integer", "description": "How many lines; default and at most 2000." }
                },
                "required": ["path"]
            }),
        }
    }

    fn resources(&self, arguments: &Value, context: &ToolContext) -> Vec<Resource> {
        vec![match named_path(arguments, "path") {
            Some(path) => Resource::Read(context.project_root.join(path)),
            None => Resource::None,
        }]
    }

    async fn plan(&self, call_id: &CallId, arguments: &Value, _: &ToolContext) -> Result<Intent, ToolError> {
        let arguments = Arguments::new(arguments, &["path", "offset", "limit"])?;
        let plan = Plan {
            path: arguments.text("path")?,
            offset: arguments.optional_count("offset")?.unwrap_or(1).max(1),
            limit: arguments.optional_count("limit")?.unwrap_or(LINES).clamp(1, LINES),
        };
        Ok(Intent { call_id: call_id.clone(), tool: "read".into(), effect: Effect::Pure, plan: json!(plan) })
    }

    async fn apply(&self, intent: &Intent, context: &ToolContext) -> Outcome {
        let (plan, context) = (intent.plan.clone(), context.clone());
        blocking(move || show(&read_plan(plan)?, &context)).await.unwrap_or_else(Into::into)
    }

    async fn reconcile(&self, _: &Intent, _: &ToolContext) -> Verdict {
        Verdict::NotDone
    }
}

fn show(plan: &Plan, context: &ToolContext) -> Result<Outcome, ToolError> {
    let (root, inside) = readable(context, &plan.path)?;
    let (file, metadata) = root.open_file(&inside)?;
    let failed = |source| PathError::Io { attempt: "read", path: inside.show(), source };
    let mut reader = BufReader::with_capacity(64 * 1024, file.take(LOOK));
    if reader.fill_buf().map_err(failed)?.iter().take(SNIFF).any(|byte| *byte == 0) {
        return Err(ToolError::new(
            "BINARY_FILE",
            format!("{} is binary, {} bytes", inside.show(), metadata.len()),
        )
        .about("path")
        .hint("Look at it with a command in `shell_exec`, such as `file` or `xxd | head`."));
    }
    let mut page = Page::new(plan);
    let mut hash = Sha256::new();
    loop {
        let chunk = reader.fill_buf().map_err(failed)?;
        if chunk.is_empty() {
            break;
        }
        if context.cancel.is_cancelled() {
            return Err(ToolError::cancelled());
        }
        hash.update(chunk);
        page.take(chunk);
        let taken = chunk.len();
        reader.consume(taken);
    }
    page.end_of_file();
    let whole = metadata.len() <= LOOK;
    let mut data = json!({ "lines": page.lines });
    if whole {
        let sha256 = hex(&hash.finalize());
        context.seen.note(&inside, &sha256);
        data["file"] = file_data(&inside, &sha256);
    }
    Ok(Outcome::success(page.finish(plan, whole)?).with_data(data))
}

/// Collects the wanted lines of a file that streams by.
struct Page {
    first: u64,
    last: u64,
    text: Vec<u8>,
    /// Of the line that streams by now: its number, how much of it was shown, whether there is anything of it.
    line: u64,
    shown: usize,
    open: bool,
    /// The last line that is in `text` whole.
    complete: u64,
    /// Lines seen so far.
    lines: u64,
}

impl Page {
    fn new(plan: &Plan) -> Self {
        let last = plan.offset.saturating_add(plan.limit - 1);
        Self {
            first: plan.offset,
            last,
            text: Vec::new(),
            line: 1,
            shown: 0,
            open: false,
            complete: 0,
            lines: 0,
        }
    }

    fn take(&mut self, chunk: &[u8]) {
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            let (content, ended) = match piece.split_last() {
                Some((b'\n', content)) => (content, true),
                _ => (piece, false),
            };
            if self.wanted() {
                self.show(content);
            }
            self.open = true;
            if ended {
                self.end_line();
            }
        }
    }

    fn wanted(&self) -> bool {
        (self.first..=self.last).contains(&self.line) && self.text.len() < BYTES
    }

    fn show(&mut self, content: &[u8]) {
        if self.shown == 0 && !self.open {
            self.text.extend_from_slice(format!("{:>6}\t", self.line).as_bytes());
        }
        let room = LINE.saturating_sub(self.shown);
        self.text.extend_from_slice(&content[..content.len().min(room)]);
        self.shown += content.len();
    }

    fn end_line(&mut self) {
        if (self.first..=self.last).contains(&self.line) && (self.wanted() || self.shown > 0) {
            if self.shown > LINE {
                self.text.extend_from_slice(format!(" [… {} more bytes]", self.shown - LINE).as_bytes());
            }
            if self.text.last() == Some(&b'\r') {
                self.text.pop();
            }
            self.text.push(b'\n');
            self.complete = self.line;
        }
        self.lines = self.line;
        self.line += 1;
        self.shown = 0;
        self.open = false;
    }

    fn end_of_file(&mut self) {
        if self.open {
            self.end_line();
        }
    }

    /// The text with a note where the file does not end with it.
    fn finish(self, plan: &Plan, whole: bool) -> Result<String, ToolError> {
        if self.lines == 0 {
            return Ok("[the file is empty]".into());
        }
        if plan.offset > self.lines && whole {
            let lines = self.lines;
            return Err(ToolError::new("INVALID_PARAMETER", format!("the file has {lines} lines only"))
                .about("offset")
                .hint(format!("Use an offset from 1 to {lines}.")));
        }
        let mut text = String::from_utf8_lossy(&self.text).into_owned();
        let total = if whole { self.lines.to_string() } else { format!("more than {}", self.lines) };
        if !whole || self.complete < self.lines {
            let (first, next) = (plan.offset, self.complete + 1);
            let last = self.complete;
            let _infallible = write!(text, "[lines {first} to {last} of {total}; go on with offset {next}]");
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests;
