//! The few things that a person can ask of the tour, each of which it does with one real tool call.

use serde_json::json;

use crate::script::Step;

/// A request that the tour understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Tour,
    ListFiles,
    RunTests,
    ShowDiff,
    Search(String),
    Open(String),
    Other,
}

/// The first line decides; the rest of a prompt is the agent loop's.
pub(super) fn parse(prompt: &str) -> Verb {
    let line = prompt.trim().lines().next().unwrap_or_default().trim().trim_end_matches(['.', '!', '?']);
    let lower = line.to_lowercase();
    let words: Vec<&str> =
        lower.split_whitespace().filter(|word| !matches!(*word, "the" | "please")).collect();
    let is_one_of = |texts: &[&str]| texts.contains(&words.join(" ").as_str());
    let rest = |verbs: &[&str]| {
        let (first, rest) = line.split_once(char::is_whitespace)?;
        let rest = rest.trim();
        let rest = rest.strip_prefix("for ").unwrap_or(rest).trim_matches(['"', '\'', '`', ' ']);
        let is_meant = verbs.contains(&first.to_lowercase().as_str()) && !rest.is_empty();
        is_meant.then(|| rest.to_owned())
    };
    if words.iter().any(|word| matches!(*word, "tour" | "demo")) {
        Verb::Tour
    } else if is_one_of(&["list files", "list all files", "show files", "list", "ls", "files"]) {
        Verb::ListFiles
    } else if is_one_of(&["run tests", "run all tests", "tests", "test"]) {
        Verb::RunTests
    } else if is_one_of(&["show diff", "diff", "git diff", "show changes"]) {
        Verb::ShowDiff
    } else if let Some(words) = rest(&["search", "grep", "find"]) {
        Verb::Search(words)
    } else if let Some(path) = rest(&["open", "read", "show", "cat"]) {
        Verb::Open(path)
    } else {
        Verb::Other
    }
}

impl Verb {
    pub(super) fn thought(&self) -> &'static str {
        match self {
            Self::ListFiles => "The script knows this one: the `list` tool.",
            Self::RunTests => "The script knows this one: `sh tests/run.sh` in the shell.",
            Self::ShowDiff => "The script knows this one: `git diff` in the shell.",
            Self::Search(_) => "The script knows this one: the `grep` tool.",
            Self::Open(_) => "The script knows this one: the `read` tool.",
            Self::Tour | Self::Other => "",
        }
    }

    pub(super) fn call(&self) -> Option<Step> {
        Some(match self {
            Self::ListFiles => Step::call("list", json!({})),
            Self::RunTests => Step::call("shell_exec", json!({ "command": "sh tests/run.sh" })),
            Self::ShowDiff => Step::call("shell_exec", json!({ "command": "git diff" })),
            Self::Search(words) => Step::call("grep", json!({ "pattern": literal(words) })),
            Self::Open(path) => Step::call("read", json!({ "path": path })),
            Self::Tour | Self::Other => return None,
        })
    }

    pub(super) fn report(&self, result: &str) -> String {
        let title = match self {
            Self::ListFiles => "The files here:".to_owned(),
            Self::RunTests if result.contains("all tests passed") => "The tests pass:".to_owned(),
            Self::RunTests => "The tests do not pass:".to_owned(),
            Self::ShowDiff if !result.contains("diff --git") => {
                return "Nothing has been changed.".to_owned();
            }
            Self::ShowDiff => "What has been changed:".to_owned(),
            Self::Search(words) => format!("Where `{words}` is found:"),
            Self::Open(path) => format!("`{path}`:"),
            Self::Tour | Self::Other => return String::new(),
        };
        format!("{title}\n\n{}", quote(result))
    }
}

/// The beginning of a result as a block of code.
pub(super) fn quote(text: &str) -> String {
    const LINES: usize = 40;
    let mut lines: Vec<&str> = text.trim_end().lines().take(LINES).collect();
    if text.trim_end().lines().count() > LINES {
        lines.push("…");
    }
    // The fence has to be longer than any inside.
    let fence = if text.contains("```") { "````" } else { "```" };
    format!("{fence}\n{}\n{fence}\n", lines.join("\n"))
}

/// The words as a pattern that means just them.
fn literal(words: &str) -> String {
    let mut pattern = String::with_capacity(words.len());
    for character in words.chars() {
        if r"\.+*?()|[]{}^$".contains(character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}
