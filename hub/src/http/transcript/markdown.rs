//! A session as Markdown, to be read or kept. Pure.

use std::fmt::Write as _;

use protocol::document::{Block, ChatSession, ChatTurn, ToolCall};

pub(super) fn export(session: &ChatSession, turns: &[ChatTurn]) -> String {
    let mut text = format!("# {}\n\n", session.name);
    for turn in turns {
        let simulated = if turn.simulated { ", scripted, no AI" } else { "" };
        let _ = writeln!(text, "## {}\n", turn.created_at);
        let _ = writeln!(text, "{}\n", quoted(&turn.prompts.user));
        let _ = writeln!(text, "*{} / {}{simulated}: {}*\n", turn.provider, turn.llm, turn.status);
        for block in &turn.blocks {
            match block {
                Block::Thinking { content, .. } => {
                    let _ =
                        writeln!(text, "<details><summary>Thinking</summary>\n\n{content}\n\n</details>\n");
                }
                Block::Responding { content, .. } => {
                    let _ = writeln!(text, "{content}\n");
                }
                Block::Tool { content, .. } => call(&mut text, content),
            }
        }
        if let Some(error) = &turn.error_message {
            let _ = writeln!(text, "**Error:** {error}\n");
        }
    }
    text
}

fn quoted(prompt: &str) -> String {
    prompt.lines().map(|line| format!("> {line}")).collect::<Vec<_>>().join("\n")
}

fn call(text: &mut String, call: &ToolCall) {
    let outcome = match (call.unknown_outcome, call.is_error) {
        (true, _) => " (outcome unknown)",
        (false, true) => " (failed)",
        (false, false) => "",
    };
    let _ = writeln!(text, "**`{}`**{outcome}\n", call.name);
    for part in [&call.parameters, &call.response] {
        if !part.is_empty() {
            let fence = fence(part);
            let _ = writeln!(text, "{fence}json\n{part}\n{fence}\n");
        }
    }
}

/// Longer than any run of back-ticks inside.
fn fence(content: &str) -> String {
    let longest = content.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_longer_than_what_it_holds() {
        assert_eq!(fence("plain"), "```");
        assert_eq!(fence("a ```` b"), "`````");
    }

    #[test]
    fn a_prompt_is_quoted_line_by_line() {
        assert_eq!(quoted("a\nb"), "> a\n> b");
    }
}
