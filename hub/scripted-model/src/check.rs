//! What must be true of every request, and of each request beside those before it.

use std::collections::{BTreeSet, HashMap};

use crate::dialect::Dialect;
use crate::request::{Call, Message, Request};
use crate::script::Expect;

/// Checks one request by itself. Returns what is wrong with it, in sentences.
pub(crate) fn check(request: &Request, body: &[u8], secrets: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    check_pairs(&request.messages, &mut found);
    if !request.tools.is_sorted() {
        found.push(format!("the tools are not sorted by name: {}", request.tools.join(", ")));
    }
    if request.tools.iter().collect::<BTreeSet<_>>().len() < request.tools.len() {
        found.push(format!("a tool is offered twice: {}", request.tools.join(", ")));
    }
    if request.dialect == Dialect::Ollama && request.num_ctx.is_none() {
        found.push("options.num_ctx is missing: the server would cut the prompt silently".to_owned());
    }
    let body = String::from_utf8_lossy(body);
    for (nth, secret) in secrets.iter().enumerate() {
        if !secret.is_empty() && body.contains(secret) {
            found.push(format!("secret number {nth} is in the request"));
        }
    }
    found
}

/// Checks what the script itself demands.
pub(crate) fn check_expected(request: &Request, expect: &Expect) -> Vec<String> {
    let Expect { last_contains, contains, lacks, offers, withholds, rewritten: _ } = expect;
    let mut found = Vec::new();
    let last = request.texts().last().unwrap_or_default();
    for text in last_contains.iter().filter(|text| !last.contains(text.as_str())) {
        found.push(format!("the newest message does not contain {text:?}"));
    }
    for text in contains.iter().filter(|text| !request.texts().any(|own| own.contains(text.as_str()))) {
        found.push(format!("the conversation does not contain {text:?}"));
    }
    for text in lacks.iter().filter(|text| request.texts().any(|own| own.contains(text.as_str()))) {
        found.push(format!("the conversation contains {text:?}"));
    }
    for tool in offers.iter().filter(|tool| !request.offers(tool)) {
        found.push(format!("the tool {tool} is not on offer"));
    }
    for tool in withholds.iter().filter(|tool| request.offers(tool)) {
        found.push(format!("the tool {tool} is on offer"));
    }
    found
}

/// Each call has exactly one result, before anything else is said.
fn check_pairs(messages: &[Message], found: &mut Vec<String>) {
    let mut open: Vec<&Call> = Vec::new();
    for (place, message) in messages.iter().enumerate() {
        match message {
            Message::Tool { call_id, name, .. } => {
                let is_meant = |call: &&Call| match (call_id, &call.id) {
                    (Some(id), Some(own)) => id == own,
                    _ => name.as_ref().is_none_or(|name| *name == call.name),
                };
                match open.iter().position(is_meant) {
                    Some(at) => {
                        open.remove(at);
                    }
                    None => {
                        found.push(format!("message {place} is a result without a call, or a second one"));
                    }
                }
            }
            Message::User { .. } | Message::Assistant { .. } => {
                report_open(&open, place, found);
                open.clear();
            }
        }
        if let Message::Assistant { calls, .. } = message {
            let ids: BTreeSet<_> = calls.iter().filter_map(|call| call.id.as_ref()).collect();
            if ids.len() < calls.iter().filter(|call| call.id.is_some()).count() {
                found.push(format!("message {place} has two calls of the same id"));
            }
            for call in calls.iter().filter(|call| !call.arguments.is_object()) {
                found.push(format!("message {place}: the arguments of {} are no JSON object", call.name));
            }
            open.extend(calls);
        }
    }
    report_open(&open, messages.len(), found);
}

fn report_open(open: &[&Call], place: usize, found: &mut Vec<String>) {
    for call in open {
        found.push(format!("a call of {} has no result before message {place}", call.name));
    }
}

/// The conversations seen so far, to see whether one keeps its bytes.
#[derive(Debug, Default)]
pub(crate) struct Conversations {
    /// By the place and the fingerprint of the prompt that an answer is given to.
    seen: HashMap<(usize, u64), Vec<Seen>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    preamble: u64,
    /// Of the messages that have to stay: what the user said last may have been a passing note.
    fingerprints: Vec<u64>,
}

impl Conversations {
    /// Remembers the request. Returns what is wrong with it, if the conversation began before and this is no longer
    /// what was sent then.
    pub(crate) fn check(
        &mut self,
        request: &Request,
        prompt: Option<usize>,
        may_differ: bool,
    ) -> Option<String> {
        let prompt = prompt?;
        let lasting = request
            .messages
            .iter()
            .rposition(|message| !matches!(message, Message::User { .. }))
            .map_or(0, |last| last + 1)
            .max(prompt + 1);
        let key = (prompt, request.fingerprints[prompt]);
        let seen = self.seen.entry(key).or_default();
        let now = Seen { preamble: request.preamble, fingerprints: request.fingerprints[..lasting].to_vec() };
        if may_differ || request.answers_since(prompt) == 0 {
            seen.push(now);
            return None;
        }
        // Several conversations may begin alike, so each beginning is good for one of them.
        let continued = (0..seen.len())
            .filter(|at| now.preamble == seen[*at].preamble)
            .filter(|at| request.fingerprints.starts_with(&seen[*at].fingerprints))
            .max_by_key(|at| seen[*at].fingerprints.len());
        if let Some(at) = continued {
            seen[at] = now;
            return None;
        }
        let has_changed_above = seen.iter().all(|before| before.preamble != now.preamble);
        seen.push(now);
        Some(if has_changed_above {
            "the system prompt or the tools have changed within a turn".to_owned()
        } else {
            "messages that were sent before have changed".to_owned()
        })
    }
}

#[cfg(test)]
mod tests;
