//! A turn's events as text for a terminal. Pure: what has been shown is the only state.

use std::collections::HashMap;

use jiff::Timestamp;
use protocol::event::TurnEvent;
use protocol::ids::CallId;
use protocol::value::ChatTurnStatus;
use serde_json::Value;

use crate::console::{Paint, Style};

/// Longer arguments are cut: one tool call is one line.
const LONGEST_ARGUMENT: usize = 100;

pub(crate) struct Transcript {
    style: Style,
    last: Last,
    /// When running calls began.
    started: HashMap<CallId, Timestamp>,
}

/// What the text so far ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    LineEnd,
    Thinking,
    Answer,
}

impl Transcript {
    pub(crate) fn new(style: Style) -> Self {
        Self { style, last: Last::LineEnd, started: HashMap::new() }
    }

    /// What to add to the terminal for this event.
    pub(crate) fn show(&mut self, event: &TurnEvent, at: Timestamp) -> String {
        match event {
            TurnEvent::Thinking { content } => self.text(Last::Thinking, content),
            TurnEvent::Response { content } => self.text(Last::Answer, content),
            TurnEvent::ToolCallStarted { call_id, name: _, params: _ } => {
                self.started.insert(call_id.clone(), at);
                String::new()
            }
            TurnEvent::ToolCall { call_id, name, params, response, is_error, unknown_outcome } => {
                let took = self.started.remove(call_id).map(|started| seconds(started, at));
                let (mark, paint) = match (unknown_outcome, is_error) {
                    (true, _) => ("?", Paint::Bad),
                    (false, true) => ("✗", Paint::Bad),
                    (false, false) => ("✓", Paint::Good),
                };
                let mut line =
                    format!("{} {}", self.style.paint(paint, mark), self.style.paint(Paint::Bold, name));
                let details = [main_argument(params), took, is_error.then(|| error_text(response))];
                for detail in details.into_iter().flatten().filter(|detail| !detail.is_empty()) {
                    line = format!("{line}  {}", self.style.paint(Paint::Dim, &detail));
                }
                self.line(&line)
            }
            TurnEvent::AgentToolCall(call) => {
                let argument = main_argument(&call.args.to_string()).unwrap_or_default();
                let line = format!("  ↳ {}  {argument}", call.tool);
                let line = self.style.paint(Paint::Dim, line.trim_end());
                self.line(&line)
            }
            TurnEvent::Superseded(_) => {
                let note = "[the model call broke off: its text above is withdrawn and told again]";
                let note = self.style.paint(Paint::Dim, note);
                self.line(&note)
            }
            TurnEvent::WorkOrderComplete { turn_id: _, status, message } => {
                let reason = message.as_deref().filter(|message| !message.is_empty());
                match status {
                    ChatTurnStatus::Finished | ChatTurnStatus::Processing => {
                        self.break_line().unwrap_or_default().to_owned()
                    }
                    ChatTurnStatus::Aborted => {
                        let line = self.style.paint(Paint::Bad, "stopped");
                        self.line(&line)
                    }
                    ChatTurnStatus::Error => {
                        let line = format!("error: {}", reason.unwrap_or("the turn failed"));
                        let line = self.style.paint(Paint::Bad, &line);
                        self.line(&line)
                    }
                }
            }
            TurnEvent::ToolCallProgress { .. }
            | TurnEvent::AgentThinking(_)
            | TurnEvent::AgentResponse(_)
            | TurnEvent::AgentToolResult(_)
            | TurnEvent::AgentComplete(_)
            | TurnEvent::Usage(_) => String::new(),
        }
    }

    /// The line's end, if the text stands amid a line.
    pub(crate) fn break_line(&mut self) -> Option<&'static str> {
        let amid = self.last != Last::LineEnd;
        self.last = Last::LineEnd;
        amid.then_some("\n")
    }

    fn text(&mut self, kind: Last, content: &str) -> String {
        if content.is_empty() {
            return String::new();
        }
        let gap = match (self.last, kind) {
            (Last::LineEnd, _) => "",
            (last, kind) if last == kind => "",
            _ => "\n\n",
        };
        let begins = self.last != kind;
        self.last = kind;
        let content = printable(content);
        match (kind, self.style) {
            (Last::Thinking, Style::Ansi) => format!("{gap}{}", self.style.paint(Paint::Dim, &content)),
            (Last::Thinking, Style::Plain) if begins => format!("{gap}(thinking) {content}"),
            _ => format!("{gap}{content}"),
        }
    }

    fn line(&mut self, line: &str) -> String {
        format!("{}{line}\n", self.break_line().unwrap_or_default())
    }
}

/// A model's text must not steer the terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

fn seconds(from: Timestamp, to: Timestamp) -> String {
    let milliseconds = to.duration_since(from).as_millis().max(0);
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        1000..60_000 => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        _ => format!("{} min {} s", milliseconds / 60_000, milliseconds / 1000 % 60),
    }
}

/// The argument that says most about a call: the command, the path, the pattern; else the first text.
fn main_argument(params: &str) -> Option<String> {
    let Ok(Value::Object(params)) = serde_json::from_str(params) else { return None };
    let telling = ["command", "path", "pattern", "url", "prompt"];
    let value = telling
        .iter()
        .find_map(|name| params.get(*name))
        .or_else(|| params.values().find(|v| v.is_string()))?;
    Some(one_line(value.as_str()?))
}

fn error_text(response: &str) -> String {
    let message = serde_json::from_str::<Value>(response).ok().and_then(|response| {
        let message = response.get("message").or_else(|| response.get("error")?.get("message"));
        Some(message?.as_str()?.to_owned())
    });
    one_line(&message.unwrap_or_default())
}

fn one_line(text: &str) -> String {
    let mut line: String = printable(text).split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = line.char_indices().nth(LONGEST_ARGUMENT) {
        line.truncate(cut);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    fn show(style: Style, events: &[(i64, TurnEvent)]) -> String {
        let mut transcript = Transcript::new(style);
        events.iter().map(|(time, event)| transcript.show(event, at(*time))).collect()
    }

    fn text(content: &str) -> TurnEvent {
        TurnEvent::Response { content: content.to_owned() }
    }

    fn thinking(content: &str) -> TurnEvent {
        TurnEvent::Thinking { content: content.to_owned() }
    }

    fn call(params: &str, response: &str, is_error: bool) -> [TurnEvent; 2] {
        let (call_id, name) = (CallId::from("c1"), "shell_exec".to_owned());
        [
            TurnEvent::ToolCallStarted {
                call_id: call_id.clone(),
                name: name.clone(),
                params: params.to_owned(),
            },
            TurnEvent::ToolCall {
                call_id,
                name,
                params: params.to_owned(),
                response: response.to_owned(),
                is_error,
                unknown_outcome: false,
            },
        ]
    }

    fn over(status: ChatTurnStatus, message: Option<&str>) -> TurnEvent {
        TurnEvent::WorkOrderComplete { turn_id: "t1".into(), status, message: message.map(str::to_owned) }
    }

    #[test]
    fn a_turn_reads_from_top_to_bottom() {
        let [started, ended] = call(r#"{"cwd":"x","command":"cargo test\n --all"}"#, "{}", false);
        let shown = show(
            Style::Plain,
            &[
                (0, thinking("let me ")),
                (1, thinking("see")),
                (2, started),
                (1302, ended),
                (1400, text("All ")),
                (1401, text("green.")),
                (1500, over(ChatTurnStatus::Finished, None)),
            ],
        );
        assert_eq!(shown, "(thinking) let me see\n✓ shell_exec  cargo test --all  1.3 s\nAll green.\n");
    }

    #[test]
    fn thinking_is_dim_and_apart_from_the_answer() {
        let shown = show(Style::Ansi, &[(0, thinking("hm")), (1, text("yes"))]);
        assert_eq!(shown, "\u{1b}[2mhm\u{1b}[0m\n\nyes");
    }

    #[test]
    fn a_failed_call_says_why_and_a_failed_turn_too() {
        let [started, ended] =
            call(r#"{"command":"x"}"#, r#"{"code":"NOT_FOUND","message":"no such file"}"#, true);
        let events = [(0, started), (5, ended), (6, over(ChatTurnStatus::Error, Some("the model is gone")))];
        assert_eq!(
            show(Style::Plain, &events),
            "✗ shell_exec  x  5 ms  no such file\nerror: the model is gone\n"
        );
        assert_eq!(show(Style::Plain, &[(0, over(ChatTurnStatus::Aborted, Some("aborted")))]), "stopped\n");
    }

    #[test]
    fn a_model_cannot_steer_the_terminal() {
        assert_eq!(show(Style::Plain, &[(0, text("a\u{1b}[2Jb\rc\td\n"))]), "a[2Jbc\td\n");
        let [_, ended] = call(&format!(r#"{{"command":"{}"}}"#, "x".repeat(500)), "{}", false);
        let line = show(Style::Plain, &[(0, ended)]);
        assert_eq!(line, format!("✓ shell_exec  {}…\n", "x".repeat(LONGEST_ARGUMENT)));
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(seconds(at(0), at(999)), "999 ms");
        assert_eq!(seconds(at(0), at(59_999)), "59.9 s");
        assert_eq!(seconds(at(0), at(125_000)), "2 min 5 s");
        assert_eq!(seconds(at(5), at(0)), "0 ms");
    }
}
