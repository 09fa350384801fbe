//! What an agent has done and what it does next: a pure function of its journal's records.
//!
//! The same function serves the running agent, which applies each record that it has written, and the one that goes on
//! after a crash, which applies those that it has found.

use protocol::value::{ChatTurnStatus, SubagentKind};

use super::guard::LoopGuard;
use crate::journal::record::{Body, Opening};
use crate::model::{Call, Completion, Message, Stop, TokenUsage};
use crate::tool::{Intent, Outcome};

/// An agent, as its journal tells it.
#[derive(Clone, Debug, Default)]
pub(crate) struct AgentState {
    /// How the turn began; none in a sub-agent's journal, and in an empty one.
    pub opening: Option<Opening>,
    /// The conversation since the prompt. Every call in it has its result.
    messages: Vec<Message>,
    /// The calls of the last answer, while one of them has no result.
    open: Vec<OpenCall>,
    /// The answer that made the open calls.
    asking: Option<Message>,
    /// How many calls were made so far: the number of the next one.
    pub calls: usize,
    /// How many of them were sub-agents.
    pub children: usize,
    /// How many of the conversation's earlier turns are left out.
    pub omitted: u64,
    /// What the last answer said.
    pub last_text: String,
    pub usage: TokenUsage,
    guard: LoopGuard,
    /// The last answer ended for this reason, and asked for nothing.
    answered: Option<Stop>,
    pub is_cancelled: bool,
    pub closed: Option<(ChatTurnStatus, Option<String>)>,
}

/// A call of the last answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OpenCall {
    pub number: usize,
    pub call: Call,
    pub stage: Stage,
}

/// How far a call has come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stage {
    /// Nothing was done yet.
    Fresh,
    /// It may have taken effect.
    Intended(Intent),
    /// Its sub-agent has begun.
    Child {
        kind: SubagentKind,
        prompt: String,
    },
    Done(Outcome),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Next {
    /// Ask the model.
    Ask,
    /// Run the open calls.
    Run,
    /// The last answer is the answer.
    Answered(Stop),
    /// The agent goes round in circles.
    Stuck(String),
    /// The user has asked for the stop: finish it.
    Cancelled,
    Closed,
}

impl AgentState {
    pub(crate) fn of<'a>(records: impl IntoIterator<Item = &'a Body>) -> Self {
        let mut state = Self::default();
        for body in records {
            state.apply(body);
        }
        state
    }

    pub(crate) fn apply(&mut self, body: &Body) {
        match body {
            Body::TurnOpen(opening) => {
                self.omitted = opening.omitted;
                self.opening = Some(opening.clone());
            }
            Body::Resume(_) | Body::ChildClose { .. } => {}
            Body::Assistant { completion, text: _, usage: _ } => self.answer(completion),
            Body::Intent { call, intent, started: _ } => self.stage(*call, Stage::Intended(intent.clone())),
            Body::ChildOpen { call, kind, prompt, started: _ } => {
                self.children += 1;
                self.stage(*call, Stage::Child { kind: *kind, prompt: prompt.clone() });
            }
            Body::Result { call, outcome, started: _, ended: _ } => {
                if let Some(open) = self.open.iter().find(|open| open.number == *call) {
                    self.guard.saw(&open.call.name, &open.call.arguments, &outcome.text);
                }
                self.stage(*call, Stage::Done(outcome.clone()));
                self.settle();
            }
            Body::Trim { omitted } => self.omitted = *omitted,
            Body::Cancel => self.is_cancelled = true,
            Body::TurnClose { status, message, complete: _ } => {
                self.closed = Some((*status, message.clone()));
            }
        }
    }

    pub(crate) fn next(&self) -> Next {
        if self.closed.is_some() {
            return Next::Closed;
        }
        if self.is_cancelled {
            return Next::Cancelled;
        }
        if !self.open.is_empty() {
            return Next::Run;
        }
        match (self.answered, self.guard.reason()) {
            (Some(stop), _) => Next::Answered(stop),
            (None, Some(reason)) => Next::Stuck(reason.to_owned()),
            (None, None) => Next::Ask,
        }
    }

    pub(crate) fn open_call(&self, number: usize) -> Option<&OpenCall> {
        self.open.iter().find(|open| open.number == number)
    }

    /// The calls without a result.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = &OpenCall> {
        self.open.iter().filter(|open| !matches!(open.stage, Stage::Done(_)))
    }

    /// The conversation since the prompt, for the next request.
    pub(crate) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The conversation since the prompt, for a later turn: whole, however this one ended.
    pub(crate) fn into_history(self) -> Vec<Message> {
        let unfinished = Unfinished { is_cancelled: self.is_cancelled };
        let Self { mut messages, open, asking, .. } = self;
        messages.extend(asking);
        for OpenCall { number: _, call, stage } in open {
            let outcome = match stage {
                Stage::Done(outcome) => outcome,
                stage => unfinished.outcome(&stage),
            };
            messages.push(result_message(&call, outcome));
        }
        messages
    }

    fn answer(&mut self, completion: &Completion) {
        let Completion { text, thinking, calls, usage, stop } = completion;
        self.last_text.clone_from(text);
        if let Some(usage) = usage {
            self.usage.input_tokens += usage.input_tokens;
            self.usage.cache_read_tokens += usage.cache_read_tokens;
            self.usage.cache_write_tokens += usage.cache_write_tokens;
            self.usage.output_tokens += usage.output_tokens;
            self.usage.thinking_tokens += usage.thinking_tokens;
        }
        let message =
            Message::Assistant { text: text.clone(), thinking: thinking.clone(), calls: calls.clone() };
        if calls.is_empty() {
            self.answered = Some(*stop);
            self.messages.push(message);
            return;
        }
        self.asking = Some(message);
        for call in calls {
            self.open.push(OpenCall { number: self.calls, call: call.clone(), stage: Stage::Fresh });
            self.calls += 1;
        }
    }

    fn stage(&mut self, number: usize, stage: Stage) {
        if let Some(open) = self.open.iter_mut().find(|open| open.number == number) {
            open.stage = stage;
        }
    }

    /// With all results there, answer and results become part of the conversation, in the model's order.
    fn settle(&mut self) {
        if self.unfinished().next().is_some() {
            return;
        }
        self.messages.extend(self.asking.take());
        for OpenCall { number: _, call, stage } in std::mem::take(&mut self.open) {
            if let Stage::Done(outcome) = stage {
                self.messages.push(result_message(&call, outcome));
            }
        }
    }
}

/// How the turn ended before calls of it had their results.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unfinished {
    /// By the user. Otherwise something broke, and nobody may say that it was the user.
    pub is_cancelled: bool,
}

impl Unfinished {
    /// The result of a call that got as far as `stage`.
    pub(crate) fn outcome(self, stage: &Stage) -> Outcome {
        let (text, unknown_outcome) = match (stage, self.is_cancelled) {
            (Stage::Fresh, true) => ("Not run: the user stopped the turn before this call began.", false),
            (Stage::Fresh, false) => ("Not run: the turn broke off before this call began.", false),
            (_, true) => ("Stopped by the user while it ran. What it had done by then is done.", false),
            (_, false) => {
                ("The turn broke off while it ran: its outcome is unknown. Check before you repeat it.", true)
            }
        };
        Outcome { text: text.to_owned(), is_error: true, unknown_outcome, data: None }
    }
}

fn result_message(call: &Call, outcome: Outcome) -> Message {
    Message::ToolResult {
        call_id: call.id.clone(),
        name: call.name.clone(),
        content: outcome.text,
        is_error: outcome.is_error,
    }
}

#[cfg(test)]
mod tests;
