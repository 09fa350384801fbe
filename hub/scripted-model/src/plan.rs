//! The steps of an answer as bytes, pauses and accidents. Pure: the same request and steps give the same plan.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::dialect::{Dialect, Piece, Whole};
use crate::pace::{Clock, Pace};
use crate::request::{Message, Request};
use crate::script::{CallStep, Drip, ErrorStep, Status, Step, Stop, Usage};

/// A response: what happens before the status line, the status line, and what happens after it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) before: Vec<Act>,
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) after: Vec<Act>,
}

/// What the server does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Send(Bytes),
    Pause(Duration),
    /// The connection breaks.
    Cut,
    /// Nothing more happens until the client goes.
    Stall,
}

/// How big a piece of a call's arguments is, in characters.
const ARGUMENT_PIECE: usize = 16;

/// Makes the plan of one answer.
pub(crate) fn plan(request: &Request, steps: &[Step], pace: Pace) -> Plan {
    let mut planner = Planner::new(request, pace);
    for step in steps {
        if planner.is_over {
            break;
        }
        planner.step(step);
    }
    planner.finish()
}

/// A refusal outside any script.
pub(crate) fn refusal(dialect: Dialect, code: u16, message: &str) -> Plan {
    json_plan(code, &dialect.write_refusal(code, message), &BTreeMap::new())
}

pub(crate) fn overflow(request: &Request, window: u64) -> Plan {
    let (code, body) = request.dialect.write_overflow(tokens(request.size), window);
    json_plan(code, &body, &BTreeMap::new())
}

/// A rough count: four bytes a token.
pub(crate) fn tokens(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

fn json_plan(code: u16, body: &Value, more_headers: &BTreeMap<String, String>) -> Plan {
    let mut headers = BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]);
    headers.extend(more_headers.clone());
    Plan { before: Vec::new(), status: code, headers, after: vec![Act::Send(body.to_string().into())] }
}

struct Planner<'a> {
    request: &'a Request,
    plan: Plan,
    clock: Clock,
    drip: Option<Drip>,
    /// The status line is out: from here on accidents happen inside the body.
    has_head: bool,
    /// The answer ended otherwise than by its last step.
    is_over: bool,
    /// What was said so far, for counts and for clients that do not stream.
    whole: Whole,
    usage: Counts,
    stop: Option<Stop>,
}

enum Counts {
    MadeUp,
    Given(Usage),
    None,
}

impl<'a> Planner<'a> {
    fn new(request: &'a Request, pace: Pace) -> Self {
        let content_type =
            if request.is_streamed { request.dialect.content_type() } else { "application/json" };
        Self {
            request,
            plan: Plan {
                before: Vec::new(),
                status: 200,
                headers: BTreeMap::from([("content-type".to_owned(), content_type.to_owned())]),
                after: Vec::new(),
            },
            clock: pace.clock(),
            drip: None,
            has_head: false,
            is_over: false,
            whole: Whole::default(),
            usage: Counts::MadeUp,
            stop: None,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Think(text) => {
                self.whole.thinking.push_str(text);
                for word in text.split_inclusive(' ') {
                    self.paced(&Piece::Think(word));
                }
            }
            Step::Say(text) => {
                self.whole.text.push_str(text);
                for word in text.split_inclusive(' ') {
                    self.paced(&Piece::Say(word));
                }
            }
            Step::Call(call) => self.call(call),
            Step::Usage(usage) => self.usage = Counts::Given(*usage),
            Step::NoUsage => self.usage = Counts::None,
            Step::Stop(reason) => self.stop = Some(*reason),
            Step::Pause(milliseconds) => self.act(Act::Pause(Duration::from_millis(*milliseconds))),
            Step::Headers(headers) => {
                self.plan.headers.extend(headers.clone());
                self.has_head = true;
            }
            Step::Drip(drip) => self.drip = Some(*drip),
            Step::Comment(text) => self.send(&Piece::Comment(text)),
            Step::Raw(text) => self.send_bytes(Bytes::from(text.clone())),
            Step::Frame(value) => self.send(&Piece::Frame(value)),
            Step::BadFrame => self.send(&Piece::BadFrame),
            Step::Error(ErrorStep { message, code }) => {
                self.send(&Piece::Error { message, code: code.as_deref() });
                self.is_over = true;
            }
            Step::Cut => self.end_with(Act::Cut),
            Step::Stall => self.end_with(Act::Stall),
            Step::End => {
                self.has_head = true;
                self.is_over = true;
            }
            Step::Status(Status { code, message, headers }) => {
                let message = message.clone().unwrap_or_else(|| format!("scripted status {code}"));
                self.refuse(json_plan(*code, &self.request.dialect.write_refusal(*code, &message), headers));
            }
            Step::Overflow => {
                let (code, body) = self.request.dialect.write_overflow(9001, 8192);
                self.refuse(json_plan(code, &body, &BTreeMap::new()));
            }
        }
    }

    /// What was to happen before the status line still does.
    fn refuse(&mut self, plan: Plan) {
        let before = std::mem::take(&mut self.plan.before);
        self.plan = Plan { before, ..plan };
        self.has_head = true;
        self.is_over = true;
    }

    fn call(&mut self, call: &CallStep) {
        let CallStep { name, arguments, id } = call;
        let index = self.whole.calls.len();
        let id = id.clone().unwrap_or_else(|| made_up_id(self.request, index));
        self.paced(&Piece::CallHead { index, id: &id, name, arguments });
        if self.request.dialect.streams_arguments() {
            let text = arguments.to_string();
            let characters: Vec<char> = text.chars().collect();
            for piece in characters.chunks(ARGUMENT_PIECE) {
                let text: String = piece.iter().collect();
                self.paced(&Piece::CallArguments { index, text: &text });
            }
        }
        self.whole.calls.push((id, name.clone(), arguments.clone()));
    }

    fn finish(mut self) -> Plan {
        if self.is_over {
            return self.plan;
        }
        let natural = if self.whole.calls.is_empty() { Stop::End } else { Stop::ToolCalls };
        let stop = self.stop.unwrap_or(natural);
        let usage = match self.usage {
            Counts::MadeUp => Some(self.made_up_usage()),
            Counts::Given(usage) => Some(usage),
            Counts::None => None,
        };
        if self.request.is_streamed {
            self.send(&Piece::End { stop, usage: usage.as_ref() });
        } else {
            let whole = Whole { stop, usage, ..std::mem::take(&mut self.whole) };
            let body = self.request.dialect.write_whole(&self.request.model, &whole);
            self.send_bytes(body.to_string().into());
        }
        self.plan
    }

    fn made_up_usage(&self) -> Usage {
        let Whole { thinking, text, calls, .. } = &self.whole;
        let arguments: usize =
            calls.iter().map(|(_, name, arguments)| name.len() + arguments.to_string().len()).sum();
        let thinking = tokens(thinking.len());
        Usage {
            input: tokens(self.request.size),
            cached: 0,
            output: thinking + tokens(text.len() + arguments),
            thinking,
        }
    }

    /// A piece of the answer in its rhythm.
    fn paced(&mut self, piece: &Piece<'_>) {
        let pause = self.clock.tick();
        if !pause.is_zero() {
            self.act(Act::Pause(pause));
        }
        self.send(piece);
    }

    /// A client that does not stream gets nothing before the end.
    fn send(&mut self, piece: &Piece<'_>) {
        if self.request.is_streamed {
            self.send_bytes(self.request.dialect.write(&self.request.model, piece));
        }
    }

    fn send_bytes(&mut self, bytes: Bytes) {
        self.has_head = true;
        match self.drip {
            None if bytes.is_empty() => {}
            None => self.act(Act::Send(bytes)),
            Some(Drip { bytes: size, pause }) => {
                for start in (0..bytes.len()).step_by(size.max(1)) {
                    let end = bytes.len().min(start + size.max(1));
                    self.act(Act::Send(bytes.slice(start..end)));
                    self.act(Act::Pause(Duration::from_millis(pause)));
                }
            }
        }
    }

    fn end_with(&mut self, act: Act) {
        self.act(act);
        self.is_over = true;
    }

    fn act(&mut self, act: Act) {
        if self.has_head { self.plan.after.push(act) } else { self.plan.before.push(act) }
    }
}

/// Different for each call of a conversation, and the same when the request is made again.
fn made_up_id(request: &Request, index: usize) -> String {
    let answers =
        request.messages.iter().filter(|message| matches!(message, Message::Assistant { .. })).count();
    format!("call_{answers}_{index}")
}

#[cfg(test)]
mod tests;
