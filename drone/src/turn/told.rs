//! What the hub still has to be told when a turn goes on after a crash. Pure.
//!
//! Events were held back until the record that they stand for was on disk, so the journal knows the number of every
//! event that the hub may have stored, but for the pieces of an answer that was still coming and for a tool's live
//! output. All numbers up to `stored` are stored, none after it is. So: what has a higher number is told again;
//! an answer's text that is stored in part is withdrawn and told whole; what is stored beyond the journal's last number
//! is text of a model call that will be made again, and is withdrawn.

use std::collections::BTreeMap;

use protocol::event::TurnEvent;
use protocol::value::ChatTurnStatus;

use super::state::{AgentState, Next};
use super::voice::Voice;
use crate::journal::record::{Body, Part, Resume, Retold, Telling, TextSpan, Withdrawal};
use crate::model::Call;

/// The journals of a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Journals<'a> {
    pub main: &'a [Body],
    /// Of each sub-agent, by the number of the call that started it.
    pub children: &'a BTreeMap<usize, Vec<Body>>,
}

/// What the new attempt begins with.
#[derive(Debug, PartialEq)]
pub(crate) struct CatchUp {
    /// To be journaled before any of the events is sent.
    pub resume: Resume,
    /// Numbered from `resume.first_seq`, in order.
    pub events: Vec<TurnEvent>,
}

/// An agent's journal and what can be said about it.
struct Agent<'a> {
    number: Option<usize>,
    records: &'a [Body],
    voice: Voice,
    /// Every call that the agent made, by number.
    calls: Vec<Call>,
    /// What is stored beyond its last number is text of an answer that never came to its end.
    is_asking: bool,
    /// The event that told of its beginning; none for the turn's own agent.
    beginning: Option<Telling>,
}

pub(crate) fn catch_up(journals: Journals<'_>, voice: &Voice, attempt: u32, first_seq: u64) -> CatchUp {
    let stored = first_seq.saturating_sub(1);
    let agents = agents(journals, voice);
    let resumes = || {
        journals.main.iter().filter_map(|body| match body {
            Body::Resume(resume) => Some(resume),
            _ => None,
        })
    };
    let mut spans: BTreeMap<Telling, (u64, u64)> = agents.iter().flat_map(tellings).collect();
    for Retold { what, from, to } in resumes().flat_map(|resume| &resume.retold) {
        spans.insert(*what, (*from, *to));
    }
    let before_all =
        AgentState::of(journals.main).opening.map_or(0, |opening| opening.first_seq.saturating_sub(1));
    let caught_up_through = resumes().map(|resume| resume.through).max().unwrap_or_default();

    let mut withdrawals: Vec<(Option<usize>, u64, u64)> = resumes()
        .flat_map(|resume| &resume.withdrawn)
        .filter(|withdrawal| withdrawal.seq > stored)
        .map(|Withdrawal { agent, from, to, seq: _ }| (*agent, *from, (*to).min(stored)))
        .collect();
    let mut missing: Vec<(u64, Telling)> = Vec::new();
    for (telling, (from, to)) in &spans {
        if *to <= stored {
            continue;
        }
        if telling.part == Part::Text && *from <= stored {
            withdrawals.push((telling.agent, *from, stored));
        }
        missing.push((*from, *telling));
    }
    for agent in agents.iter().filter(|agent| agent.is_asking) {
        let own = spans.iter().filter(|(telling, _)| telling.agent == agent.number).map(|(_, (_, to))| *to);
        // Not the number in the record: it is another one when it was told again.
        let began =
            agent.beginning.and_then(|beginning| spans.get(&beginning)).map_or(before_all, |(_, to)| *to);
        let known = own.chain([began, caught_up_through]).max().unwrap_or_default();
        if stored > known {
            withdrawals.push((agent.number, known + 1, stored));
        }
    }
    missing.sort_unstable();
    withdrawals.retain(|(_, from, to)| from <= to);
    withdrawals.dedup();

    let mut events = Vec::new();
    let mut resume =
        Resume { attempt, first_seq, through: stored, withdrawn: Vec::new(), retold: Vec::new() };
    let voice_of = |number: Option<usize>| {
        agents.iter().find(|agent| agent.number == number).map_or(voice, |agent| &agent.voice)
    };
    for (agent, from, to) in withdrawals {
        let seq = first_seq + events.len() as u64;
        events.push(voice_of(agent).superseded(from, to));
        resume.withdrawn.push(Withdrawal { agent, from, to, seq });
    }
    for (_, what) in missing {
        let from = first_seq + events.len() as u64;
        if let Some(agent) = agents.iter().find(|agent| agent.number == what.agent) {
            events.extend(agent.events(what));
        }
        // Of no events at all, `to` is one less than `from`: nothing of it can be missing any more.
        let to = first_seq + events.len() as u64 - 1;
        resume.retold.push(Retold { what, from, to });
    }
    resume.through = first_seq + events.len() as u64 - 1;
    CatchUp { resume, events }
}

/// The highest number of an event that a record stands for; 0 for none.
pub(crate) fn last_number(body: &Body) -> u64 {
    match body {
        Body::Resume(resume) => resume.through,
        Body::Assistant { completion: _, text, usage } => {
            usage.unwrap_or_default().max(text.map_or(0, |text| text.to))
        }
        Body::Intent { started, .. } | Body::ChildOpen { started, .. } => *started,
        Body::Result { ended, .. } => *ended,
        Body::ChildClose { complete, .. } => *complete,
        Body::TurnClose { complete, .. } => complete.unwrap_or_default(),
        Body::TurnOpen(_) | Body::Trim { .. } | Body::Cancel => 0,
    }
}

fn agents<'a>(journals: Journals<'a>, voice: &Voice) -> Vec<Agent<'a>> {
    let Journals { main, children } = journals;
    let state = AgentState::of(main);
    let main_calls = calls(main);
    let mut agents = Vec::new();
    for (record, body) in main.iter().enumerate() {
        let Body::ChildOpen { call: number, .. } = body else { continue };
        let Some(call) = main_calls.get(*number) else { continue };
        // It may have died before its first record.
        let records = children.get(number).map_or(&[][..], Vec::as_slice);
        let is_open = !main.iter().any(|body| {
            matches!(body, Body::ChildClose { call, .. } | Body::Result { call, .. } if call == number)
        });
        agents.push(Agent {
            number: Some(*number),
            records,
            voice: voice.sub_agent(*number, call),
            calls: calls(records),
            is_asking: is_open && !state.is_cancelled && was_asking(&AgentState::of(records)),
            beginning: Some(Telling { agent: None, record, part: Part::Started }),
        });
    }
    agents.push(Agent {
        number: None,
        records: main,
        voice: voice.clone(),
        calls: main_calls,
        is_asking: was_asking(&state),
        beginning: None,
    });
    agents
}

/// It had asked the model when the process died, or was about to; or it had given up on the model. What a stopped agent
/// had said stays.
fn was_asking(state: &AgentState) -> bool {
    match (state.next(), &state.closed) {
        (Next::Ask, _) => true,
        (Next::Closed, Some((status, _))) => *status == ChatTurnStatus::Error && !state.is_cancelled,
        _ => false,
    }
}

/// Every call of a journal, by number.
fn calls(records: &[Body]) -> Vec<Call> {
    records
        .iter()
        .filter_map(|body| match body {
            Body::Assistant { completion, .. } => Some(&completion.calls),
            _ => None,
        })
        .flatten()
        .cloned()
        .collect()
}

/// Everything that an agent's journal has told, with the numbers that it had then.
fn tellings(agent: &Agent<'_>) -> Vec<(Telling, (u64, u64))> {
    let mut out = Vec::new();
    for (record, body) in agent.records.iter().enumerate() {
        let mut told = |part: Part, from: u64, to: u64| {
            out.push((Telling { agent: agent.number, record, part }, (from, to)));
        };
        match body {
            Body::Assistant { completion: _, text, usage } => {
                if let Some(TextSpan { from, to }) = text {
                    told(Part::Text, *from, *to);
                }
                if let Some(seq) = usage {
                    told(Part::Usage, *seq, *seq);
                }
            }
            Body::Intent { started, .. } | Body::ChildOpen { started, .. } => {
                told(Part::Started, *started, *started);
            }
            Body::Result { started, ended, .. } => {
                if let Some(started) = started {
                    told(Part::Started, *started, *started);
                }
                told(Part::Ended, *ended, *ended);
            }
            Body::ChildClose { complete, .. } | Body::TurnClose { complete: Some(complete), .. } => {
                told(Part::Complete, *complete, *complete);
            }
            Body::TurnClose { complete: None, .. }
            | Body::TurnOpen(_)
            | Body::Resume(_)
            | Body::Trim { .. }
            | Body::Cancel => {}
        }
    }
    out
}

impl Agent<'_> {
    /// The events of a telling, in today's words.
    fn events(&self, what: Telling) -> Vec<TurnEvent> {
        let Self { records, voice, calls, .. } = self;
        let call = |number: &usize| calls.get(*number);
        let event = match (records.get(what.record), what.part) {
            (Some(Body::Assistant { completion, .. }), Part::Text) => return voice.answer(completion),
            (Some(Body::Assistant { completion, .. }), Part::Usage) => {
                completion.usage.as_ref().map(|usage| voice.usage(usage))
            }
            (
                Some(
                    Body::Intent { call: number, .. }
                    | Body::ChildOpen { call: number, .. }
                    | Body::Result { call: number, .. },
                ),
                Part::Started,
            ) => call(number).map(|call| voice.started(*number, call)),
            (Some(Body::Result { call: number, outcome, .. }), Part::Ended) => {
                call(number).map(|call| voice.ended(*number, call, outcome))
            }
            (Some(Body::ChildClose { call: number, response, stats, .. }), Part::Complete) => {
                call(number).map(|call| voice.agent_complete(*number, call, response.clone(), stats.clone()))
            }
            (Some(Body::TurnClose { status, message, .. }), Part::Complete) => {
                Some(voice.complete(*status, message.clone()))
            }
            _ => None,
        };
        event.into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
