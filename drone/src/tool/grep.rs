//! `grep`: finds lines by a regular expression.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};

use async_trait::async_trait;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::sinks::Lossy;
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder};
use protocol::ids::CallId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::arguments::{Arguments, read_plan};
use super::blocking::blocking;
use super::glob::matcher;
use super::output::{LISTING, bounded};
use super::walk::Files;
use super::{Effect, Intent, Outcome, Resource, Tool, ToolContext, ToolError, ToolSpec, Verdict};

/// The search ends after this many lines, or this many bytes of them.
const MOST: usize = 5000;
const MOST_BYTES: usize = 2 * 1024 * 1024;
/// Bytes shown of one line.
const LINE: usize = 400;
/// Memory that one search may take for a single line; a file with a longer one is left out.
const HEAP: usize = 16 * 1024 * 1024;

pub(crate) struct Grep;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    pattern: String,
    path: String,
    glob: Option<String>,
    case_insensitive: bool,
}

#[async_trait]
impl Tool for Grep {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "grep",
            description: "Finds lines that match a regular expression, as `path:line:text`, sorted by path. Ignored \
                          and binary files are left out.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "pattern": { "type": "string", "description": "A regular expression in Rust's syntax." },
                    "path": { "type": "string", "description": "File or directory to look in; default the project root." },
                    "glob": { "type": "string", "description": "Only files whose path matches, such as `*.rs`." },
                    "case_insensitive": { "type": "boolean", "description": "Default false." }
                },
                "required": ["pattern"]
            }),
        }
    }

    fn resources(&self, _: &Value, _: &ToolContext) -> Vec<Resource> {
        vec![Resource::ReadProject]
    }

    async fn plan(&self, call_id: &CallId, arguments: &Value, _: &ToolContext) -> Result<Intent, ToolError> {
        let arguments = Arguments::new(arguments, &["pattern", "path", "glob", "case_insensitive"])?;
        let plan = Plan {
            pattern: arguments.text("pattern")?,
            path: arguments.optional_text("path")?.unwrap_or_default(),
            glob: arguments.optional_text("glob")?,
            case_insensitive: arguments.flag("case_insensitive")?,
        };
        regex(&plan)?;
        plan.glob.as_deref().map(|glob| matcher(glob, "glob")).transpose()?;
        Ok(Intent { call_id: call_id.clone(), tool: "grep".into(), effect: Effect::Pure, plan: json!(plan) })
    }

    async fn apply(&self, intent: &Intent, context: &ToolContext) -> Outcome {
        let (intent, context) = (intent.clone(), context.clone());
        blocking(move || search(&intent, &context)).await.unwrap_or_else(Into::into)
    }

    async fn reconcile(&self, _: &Intent, _: &ToolContext) -> Verdict {
        Verdict::NotDone
    }
}

fn regex(plan: &Plan) -> Result<RegexMatcher, ToolError> {
    RegexMatcherBuilder::new().case_insensitive(plan.case_insensitive).line_terminator(Some(b'\n')).build(&plan.pattern).map_err(
        |error| {
            ToolError::new("INVALID_PARAMETER", format!("the pattern cannot be read: {error}"))
                .about("pattern")
                .hint("Put a backslash before characters such as ( ) [ ] { } . * + ? | that are meant as such; a pattern matches within one line.")
        },
    )
}

/// What a search has found so far.
#[derive(Default)]
struct Hits {
    text: String,
    lines: usize,
    files: usize,
}

impl Hits {
    fn is_full(&self) -> bool {
        self.lines >= MOST || self.text.len() >= MOST_BYTES
    }

    fn add(&mut self, path: &str, number: u64, line: &str) {
        let line = line.trim_end_matches(['\n', '\r']);
        let shown = &line[..line.floor_char_boundary(LINE)];
        let more = if shown.len() < line.len() { " […]" } else { "" };
        let _infallible = writeln!(self.text, "{path}:{number}:{shown}{more}");
        self.lines += 1;
    }
}

fn search(intent: &Intent, context: &ToolContext) -> Result<Outcome, ToolError> {
    let plan: Plan = read_plan(intent.plan.clone())?;
    let regex = regex(&plan)?;
    let only = plan.glob.as_deref().map(|glob| matcher(glob, "glob")).transpose()?;
    let mut searcher = SearcherBuilder::new()
        .binary_detection(BinaryDetection::quit(0))
        .line_number(true)
        .heap_limit(Some(HEAP))
        .build();
    let mut files = Files::below(context, &plan.path)?;
    let mut hits = Hits::default();
    while !hits.is_full() {
        let Some(path) = files.next().transpose()? else { break };
        let name = files.relative(&path).to_owned();
        if only.as_ref().is_some_and(|only| !only.is_match(&name)) {
            continue;
        }
        search_file(&mut searcher, &regex, &path, &name.display().to_string(), &mut hits, context);
    }
    let Hits { mut text, lines, files, .. } = hits;
    if lines == 0 {
        text = "[no line matches]".into();
    } else if lines >= MOST || text.len() >= MOST_BYTES {
        let note =
            format!("[the search ended after {lines} lines; use a narrower pattern, `path` or `glob`]\n");
        text.push_str(&note);
    }
    let text = bounded(context, &intent.call_id, text, LISTING);
    Ok(Outcome::success(text).with_data(json!({ "lines": lines, "files": files })))
}

fn search_file(
    searcher: &mut Searcher,
    regex: &RegexMatcher,
    path: &std::path::Path,
    name: &str,
    hits: &mut Hits,
    context: &ToolContext,
) {
    let before = hits.lines;
    let sink = Lossy(|number, line| {
        hits.add(name, number, line);
        Ok(!hits.is_full() && !context.cancel.is_cancelled())
    });
    let result = File::open(path).and_then(|file| {
        searcher.search_reader(regex, Stoppable { source: file, cancel: &context.cancel }, sink)
    });
    // A file that cannot be read, or with a line beyond the heap limit, is like one without hits.
    if let Err(error) = result {
        tracing::debug!(%error, "a file was left out of a search");
    }
    hits.files += usize::from(hits.lines > before);
}

/// Breaks off when the call is stopped: a huge file without a hit would be read to its end.
struct Stoppable<'a, R> {
    source: R,
    cancel: &'a CancellationToken,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("the search was stopped"));
        }
        self.source.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file without an end, whose reader is stopped after a while.
    struct Endless<'a> {
        reads: usize,
        cancel: &'a CancellationToken,
    }

    impl Read for Endless<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.reads += 1;
            assert!(self.reads <= 20, "the search goes on after the stop");
            if self.reads == 10 {
                self.cancel.cancel();
            }
            buffer.fill(b'\n');
            Ok(buffer.len())
        }
    }

    #[test]
    fn a_search_that_finds_nothing_is_stopped_in_the_middle_of_a_file() {
        let cancel = CancellationToken::new();
        let source = Stoppable { source: Endless { reads: 0, cancel: &cancel }, cancel: &cancel };
        let regex = RegexMatcher::new("needle").unwrap();
        let result = Searcher::new().search_reader(&regex, source, Lossy(|_, _| Ok(true)));
        assert!(result.is_err());
    }
}
