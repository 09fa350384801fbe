//! A small world in which an agent works, a process dies at any instant, and the hub has stored any part of what was
//! sent by then. Whatever happens, what the hub has in the end is what an undisturbed turn tells.

use jiff::Timestamp;
use proptest::prelude::*;
use protocol::assemble::{Assembled, TurnAssembler};
use protocol::document::{Block, TurnStats};
use protocol::value::SubagentKind;
use serde_json::Value;

use super::*;
use crate::journal::record::Opening;
use crate::model::{Completion, Stop, TokenUsage};
use crate::tool::{Effect, Intent, Outcome};
use crate::turn::state::{Stage, Unfinished};
use crate::turn::voice::Text;

const TURN: &str = "01turn";

/// What the model says in each step: pieces of text, then calls.
#[derive(Clone, Debug)]
struct Step {
    thinking: Vec<String>,
    text: Vec<String>,
    /// How many calls; those that are true start a sub-agent.
    calls: Vec<bool>,
    /// The first try breaks off after so many pieces.
    breaks_after: Option<usize>,
}

struct World {
    journal: Vec<Body>,
    children: BTreeMap<usize, Vec<Body>>,
    /// What was sent in this attempt, by number.
    sent: Vec<(u64, TurnEvent)>,
    stored: Vec<(u64, TurnEvent)>,
    next: u64,
    /// How many more things may happen before the process dies.
    left: usize,
    /// How many more things happen before the user asks for the stop.
    abort_in: usize,
}

struct Died;

type Alive<T> = Result<T, Died>;

impl World {
    fn new() -> Self {
        Self {
            journal: Vec::new(),
            children: BTreeMap::new(),
            sent: Vec::new(),
            stored: Vec::new(),
            next: 1,
            left: 0,
            abort_in: usize::MAX,
        }
    }

    fn tick(&mut self) -> Alive<()> {
        self.left = self.left.checked_sub(1).ok_or(Died)?;
        self.abort_in = self.abort_in.saturating_sub(1);
        Ok(())
    }

    fn push(&mut self, event: TurnEvent) -> Alive<u64> {
        self.tick()?;
        self.sent.push((self.next, event));
        self.next += 1;
        Ok(self.next - 1)
    }

    /// Numbers the events, writes the records, then sends: the process may die before and after the write.
    fn commit(
        &mut self,
        agent: Option<usize>,
        events: Vec<TurnEvent>,
        records: impl FnOnce(&[u64]) -> Vec<Body>,
    ) -> Alive<()> {
        self.tick()?;
        let seqs: Vec<u64> = (self.next..).take(events.len()).collect();
        self.next += events.len() as u64;
        let records = records(&seqs);
        match agent {
            None => self.journal.extend(records),
            Some(number) => self.children.entry(number).or_default().extend(records),
        }
        self.tick()?;
        self.sent.extend(seqs.into_iter().zip(events));
        Ok(())
    }

    /// The process is dead. The hub has got some of what was sent.
    fn crash(&mut self, share: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a small count"
        )]
        let got = (self.sent.len() as f64 * share).round() as usize;
        self.stored.extend(self.sent.drain(..got));
        self.sent.clear();
    }

    fn records(&self, agent: Option<usize>) -> &[Body] {
        match agent {
            None => &self.journal,
            Some(number) => self.children.get(&number).map_or(&[], Vec::as_slice),
        }
    }

    /// One process, from its start until it dies or the turn is over.
    fn live(&mut self, script: &[Step], attempt: u32) -> Alive<()> {
        let voice = Voice::main(TURN.into(), Some(1000));
        let first_seq = self.stored.last().map_or(1, |(seq, _)| seq + 1);
        self.next = first_seq;
        if self.journal.is_empty() {
            self.tick()?;
            self.journal.push(Body::TurnOpen(Opening {
                turn_id: TURN.into(),
                chat_session_id: "s".into(),
                attempt,
                first_seq,
                system: String::new(),
                prompt: String::new(),
                omitted: 0,
            }));
        } else {
            let journals = Journals { main: &self.journal, children: &self.children };
            let CatchUp { resume, events } = catch_up(journals, &voice, attempt, first_seq);
            self.tick()?;
            self.journal.push(Body::Resume(resume));
            for event in events {
                self.push(event)?;
            }
        }
        self.agent(None, &voice, script)?;
        if AgentState::of(&self.journal).closed.is_none() {
            let complete = voice.complete(ChatTurnStatus::Finished, None);
            self.commit(None, vec![complete], |seqs| {
                let complete = Some(seqs[0]);
                vec![Body::TurnClose { status: ChatTurnStatus::Finished, message: None, complete }]
            })?;
        }
        Ok(())
    }

    fn agent(&mut self, agent: Option<usize>, voice: &Voice, script: &[Step]) -> Alive<()> {
        loop {
            let state = AgentState::of(self.records(agent));
            if state.closed.is_none() && (state.is_cancelled || self.abort_in == 0) {
                return self.abort(agent, voice);
            }
            match state.next() {
                Next::Ask => self.ask(agent, voice, script)?,
                Next::Run => {
                    let open = state.unfinished().next().cloned().expect("a call without a result");
                    self.call(agent, voice, &open, script)?;
                }
                Next::Answered(_) | Next::Closed => return Ok(()),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Gives every call a result and closes the journal.
    fn abort(&mut self, agent: Option<usize>, voice: &Voice) -> Alive<()> {
        self.commit(agent, Vec::new(), |_| vec![Body::Cancel])?;
        let state = AgentState::of(self.records(agent));
        let mut events = Vec::new();
        let mut ended = Vec::new();
        for open in state.unfinished() {
            let outcome = Unfinished { is_cancelled: true }.outcome(&open.stage);
            let is_fresh = open.stage == Stage::Fresh;
            if is_fresh {
                events.push(voice.started(open.number, &open.call));
            }
            events.push(voice.ended(open.number, &open.call, &outcome));
            ended.push((open.number, outcome, is_fresh, events.len() - 1));
        }
        let status = ChatTurnStatus::Aborted;
        if agent.is_none() {
            events.push(voice.complete(status, None));
        }
        self.commit(agent, events, |seqs| {
            let result = |(call, outcome, is_fresh, place): (usize, Outcome, bool, usize)| Body::Result {
                call,
                outcome,
                started: is_fresh.then(|| seqs[place - 1]),
                ended: seqs[place],
            };
            let complete = agent.is_none().then(|| seqs[seqs.len() - 1]);
            let close = Body::TurnClose { status, message: None, complete };
            ended.into_iter().map(result).chain([close]).collect()
        })
    }

    fn ask(&mut self, agent: Option<usize>, voice: &Voice, script: &[Step]) -> Alive<()> {
        let answers =
            self.records(agent).iter().filter(|body| matches!(body, Body::Assistant { .. })).count();
        let Step { thinking, text, calls, breaks_after } = &script[answers.min(script.len() - 1)];
        // A sub-agent only talks, and so does everybody in the last step.
        let is_last = answers + 1 >= script.len() || agent.is_some();
        let pieces: Vec<(Text, &String)> = thinking
            .iter()
            .map(|piece| (Text::Thinking, piece))
            .chain(text.iter().map(|piece| (Text::Response, piece)))
            .collect();
        let mut span: Option<TextSpan> = None;
        let mut grow = |seq: u64| span.get_or_insert(TextSpan { from: seq, to: seq }).to = seq;
        if let Some(most) = breaks_after {
            let mut current: Option<(u64, u64)> = None;
            for (kind, piece) in pieces.iter().take(*most) {
                let seq = self.push(voice.text(*kind, format!("BROKEN {piece}")))?;
                current = Some((current.map_or(seq, |(from, _)| from), seq));
                grow(seq);
            }
            if let Some((from, to)) = current {
                let seq = self.push(voice.superseded(from, to))?;
                grow(seq);
            }
        }
        for (kind, piece) in &pieces {
            let seq = self.push(voice.text(*kind, (*piece).clone()))?;
            grow(seq);
        }
        let calls: Vec<Call> = calls
            .iter()
            .filter(|_| !is_last)
            .map(|is_agent| Call {
                id: "call_0".to_owned(),
                name: if *is_agent { "subagent" } else { "read" }.to_owned(),
                arguments: format!(r#"{{"n":{answers}}}"#),
            })
            .collect();
        let usage = TokenUsage { input_tokens: 10, output_tokens: 3, ..TokenUsage::default() };
        let completion = Completion {
            text: text.concat(),
            thinking: Some(thinking.concat()).filter(|text| !text.is_empty()),
            stop: if calls.is_empty() { Stop::End } else { Stop::ToolCalls },
            calls,
            usage: Some(usage),
        };
        self.commit(agent, vec![voice.usage(&usage)], |seqs| {
            vec![Body::Assistant { completion, text: span, usage: Some(seqs[0]) }]
        })
    }

    fn call(
        &mut self,
        agent: Option<usize>,
        voice: &Voice,
        open: &crate::turn::state::OpenCall,
        script: &[Step],
    ) -> Alive<()> {
        let number = open.number;
        let outcome = Outcome::success(format!("result {number}"));
        let is_agent = open.call.name == "subagent";
        match &open.stage {
            Stage::Fresh => {
                let started = voice.started(number, &open.call);
                self.commit(agent, vec![started], |seqs| {
                    let started = seqs[0];
                    vec![if is_agent {
                        let kind = SubagentKind::Explore;
                        Body::ChildOpen { call: number, kind, prompt: String::new(), started }
                    } else {
                        let intent = Intent {
                            call_id: "x".into(),
                            tool: "read".to_owned(),
                            effect: Effect::Pure,
                            plan: Value::Null,
                        };
                        Body::Intent { call: number, intent, started }
                    }]
                })
            }
            Stage::Intended(_) => {
                let ended = voice.ended(number, &open.call, &outcome);
                self.commit(agent, vec![ended], |seqs| {
                    vec![Body::Result { call: number, outcome, started: None, ended: seqs[0] }]
                })
            }
            Stage::Child { .. } => {
                self.agent(Some(number), &voice.sub_agent(number, &open.call), script)?;
                let response = AgentState::of(self.records(Some(number))).last_text;
                let stats = TurnStats::default();
                let events = vec![
                    voice.agent_complete(number, &open.call, response.clone(), stats.clone()),
                    voice.ended(number, &open.call, &outcome),
                ];
                self.commit(agent, events, |seqs| {
                    vec![
                        Body::ChildClose { call: number, response, stats, complete: seqs[0] },
                        Body::Result { call: number, outcome, started: None, ended: seqs[1] },
                    ]
                })
            }
            Stage::Done(_) => Ok(()),
        }
    }
}

/// What a reader sees, without times, and how often the end was told.
fn seen(stored: &[(u64, TurnEvent)]) -> (Vec<Block>, TurnStats, usize) {
    let mut assembler = TurnAssembler::default();
    let mut ends = 0;
    for (place, (seq, event)) in stored.iter().enumerate() {
        assert_eq!(*seq, place as u64 + 1, "a number is missing or doubled");
        ends += usize::from(matches!(event, TurnEvent::WorkOrderComplete { .. }));
        assembler.apply(*seq, Timestamp::UNIX_EPOCH, event.clone());
    }
    let Assembled { blocks, tool_calls: _, mut stats } = assembler.finish();
    // Broken-off calls are made again after a crash, which is told.
    stats.retries = 0;
    (blocks, stats, ends)
}

fn undisturbed(script: &[Step]) -> Vec<(u64, TurnEvent)> {
    let mut world = World::new();
    world.left = usize::MAX;
    assert!(world.live(script, 1).is_ok());
    world.crash(1.0);
    world.stored
}

fn step() -> impl Strategy<Value = Step> {
    (
        prop::collection::vec("[a-z]{1,4}", 0..3),
        prop::collection::vec("[a-z]{1,4}", 0..4),
        prop::collection::vec(prop::bool::weighted(0.3), 0..3),
        prop::option::weighted(0.3, 0_usize..4),
    )
        .prop_map(|(thinking, text, calls, breaks_after)| {
            // A step that asks for nothing would end the turn before its last step.
            let calls = if calls.is_empty() { vec![false] } else { calls };
            Step { thinking, text, calls, breaks_after }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn however_often_the_drone_dies_the_hub_has_everything_once_and_in_order(
        script in prop::collection::vec(step(), 1..4),
        deaths in prop::collection::vec((0_usize..25, 0.0..=1.0_f64), 0..8),
    ) {
        let mut world = World::new();
        let mut attempt = 0;
        for (ticks, share) in deaths {
            attempt += 1;
            world.left = ticks;
            let over = world.live(&script, attempt).is_ok();
            world.crash(share);
            if over && share >= 1.0 { break; }
        }
        world.left = usize::MAX;
        prop_assert!(world.live(&script, attempt + 1).is_ok());
        world.crash(1.0);
        prop_assert_eq!(seen(&world.stored), seen(&undisturbed(&script)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_stop_is_finished_however_often_the_drone_dies_and_every_call_has_its_end(
        script in prop::collection::vec(step(), 1..4),
        abort_in in 0_usize..40,
        deaths in prop::collection::vec((0_usize..25, 0.0..=1.0_f64), 0..8),
    ) {
        let mut world = World::new();
        world.abort_in = abort_in;
        let mut attempt = 0;
        for (ticks, share) in deaths {
            attempt += 1;
            world.left = ticks;
            let over = world.live(&script, attempt).is_ok();
            world.crash(share);
            if over && share >= 1.0 { break; }
        }
        world.left = usize::MAX;
        prop_assert!(world.live(&script, attempt + 1).is_ok());
        world.crash(1.0);
        let (blocks, _, ends) = seen(&world.stored);
        prop_assert_eq!(ends, 1);
        for block in blocks {
            if let Block::Tool { content, .. } = block {
                prop_assert!(!content.response.is_empty(), "{:?}", content);
            }
        }
    }
}

#[test]
fn a_hub_that_has_everything_is_told_nothing() {
    let script = [Step {
        thinking: vec!["hm".to_owned()],
        text: vec!["hello".to_owned()],
        calls: Vec::new(),
        breaks_after: None,
    }];
    let mut world = World::new();
    world.left = usize::MAX;
    assert!(world.live(&script, 1).is_ok());
    world.crash(1.0);
    let journals = Journals { main: &world.journal, children: &world.children };
    let first_seq = world.stored.len() as u64 + 1;
    let CatchUp { resume, events } = catch_up(journals, &Voice::main(TURN.into(), None), 2, first_seq);
    assert_eq!(events, []);
    assert_eq!(
        resume,
        Resume { attempt: 2, first_seq, through: first_seq - 1, withdrawn: Vec::new(), retold: Vec::new() }
    );
}

#[test]
fn text_that_was_stored_in_part_is_withdrawn_and_told_whole() {
    let completion = Completion { text: "one two".to_owned(), stop: Stop::End, ..Completion::default() };
    let main = [Body::Assistant { completion, text: Some(TextSpan { from: 4, to: 7 }), usage: None }];
    let voice = Voice::main(TURN.into(), None);
    let journals = Journals { main: &main, children: &BTreeMap::new() };
    let CatchUp { resume, events } = catch_up(journals, &voice, 2, 6);
    assert_eq!(events, [voice.superseded(4, 5), voice.text(Text::Response, "one two".to_owned())]);
    assert_eq!(resume.through, 7);
    assert_eq!(resume.withdrawn, [Withdrawal { agent: None, from: 4, to: 5, seq: 6 }]);
}
