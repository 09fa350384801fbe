//! Work that shows whether a kill lost or doubled something: everything in it can be told apart, and each command leaves
//! a line behind.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use protocol::assemble::Assembled;
use protocol::document::{ChatSession, ChatTurn, ToolCall};
use protocol::ids::{ChatSessionId, TurnId};
use protocol::value::ChatTurnStatus;
use scripted_model::script::{Answer, Script, Step};
use serde_json::json;

use crate::api::Api;
use crate::gadget::Gadget;
use crate::ide::Ide;
use crate::repository::checkout_in;
use crate::screen::Order;
use crate::transcript::{Said, all_ended_well, said, same, scripted};

/// Milliseconds between two words of the model, for which a turn takes some two seconds.
pub const PACE: u64 = 8;

/// In the result of a command that did not end by itself.
const STOPPED: [&str; 3] = [r#""why":"stopped""#, r#""signal":15"#, "UNKNOWN_OUTCOME"];

/// Begins each prompt; the session follows, so that the model's requests can be told apart.
const PROMPT: &str = "Work in session ";

/// The file to which the commands of a turn append, and what they do.
const RAN: &str = "ran.txt";
const LINES: [&str; 2] = ["first", "second"];

/// Text, tools of every kind of effect, and commands that take a while.
pub fn answers(lane: usize) -> Vec<Answer> {
    let append = |line: &str| json!({ "command": format!("sleep 0.2; echo {line} >> {RAN}") });
    let sentence = |number: usize| format!("Sentence {lane}.{number} has a few words of its own. ");
    vec![
        Answer::new([
            Step::think(format!("Thought {lane}.1 goes on for some words. ")),
            Step::say(sentence(1)),
            Step::call("write", json!({ "path": "note.txt", "content": format!("lane {lane}\n") })),
            Step::call("shell_exec", append(LINES[0])),
        ]),
        Answer::new([
            Step::say(sentence(2)),
            Step::call("read", json!({ "path": "note.txt" })),
            Step::call("shell_exec", append(LINES[1])),
        ]),
        Answer::new([
            Step::think(format!("Thought {lane}.2. ")),
            Step::say(sentence(3)),
            Step::say(sentence(4)),
        ]),
    ]
}

/// One script for each lane, by the name that [`Lane::begin`] calls.
pub fn scripts(lanes: usize) -> Vec<(String, Script)> {
    (0..lanes).map(|lane| (script_name(lane), Script::new(answers(lane)))).collect()
}

fn script_name(lane: usize) -> String {
    format!("lane-{lane}")
}

/// Which session a prompt is of.
pub fn session_in(prompt: &str) -> Option<ChatSessionId> {
    let named = prompt.strip_prefix(PROMPT)?.split(' ').next()?;
    Some(named.into())
}

/// A session that works by the script of its number.
#[derive(Debug)]
pub struct Lane {
    pub number: usize,
    pub ide: Ide,
    pub session: ChatSession,
}

/// A turn held against its script, after kills.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Sentences, calls and lines of commands that are missing in the store, on the screen or in the workspace.
    pub lost: Vec<String>,
    /// Those that are there more than once.
    pub doubled: Vec<String>,
    /// What else is not as the script says: order, results, the way the turn ended.
    pub otherwise: Option<String>,
    /// Commands that were stopped in the middle, as their results say: what they had still to do is lost.
    pub stopped: usize,
    /// Attempts after the first one. Where kills have met nothing they have shown nothing.
    pub attempts: u32,
    /// Model calls that were made again.
    pub repeated_calls: u32,
}

/// A turn that is over, beside what it should have been.
#[derive(Debug)]
pub struct Outcome<'a> {
    pub answers: &'a [Answer],
    /// Each of them is in what the commands have left behind, once.
    pub lines: &'a [&'a str],
    pub ran: &'a str,
    pub stored: &'a ChatTurn,
    /// How it ended, and what is to be seen of it.
    pub status: ChatTurnStatus,
    pub screen: &'a Assembled,
    pub order: &'a Order,
}

impl Account {
    pub fn of(outcome: &Outcome<'_>) -> Result<Self> {
        let Outcome { answers, lines, ran, stored, status: _, screen, order: _ } = outcome;
        let is_stopped =
            |call: &&ToolCall| call.is_error && STOPPED.iter().any(|words| call.response.contains(words));
        let mut account = Self {
            stopped: stored.tool_calls.iter().filter(is_stopped).count(),
            attempts: stored.attempts.saturating_sub(1),
            repeated_calls: stored.stats.retries,
            ..Self::default()
        };
        for (place, blocks) in [("store", &stored.blocks), ("screen", &screen.blocks)] {
            let said = said(blocks)?;
            for piece in pieces(answers) {
                account
                    .count(format!("{place}: {piece:?}"), said.iter().map(|said| times(&piece, said)).sum());
            }
        }
        for line in *lines {
            account.count(format!("workspace: {line}"), ran.lines().filter(|ran| ran == line).count());
        }
        account.otherwise = outcome
            .is_whole()
            .with_context(|| {
                format!("session {} turn {} {:?}", stored.session, stored.id, stored.error_message)
            })
            .err()
            .map(|error| format!("{error:#}"));
        Ok(account)
    }

    pub fn is_clean(&self) -> bool {
        let Self { lost, doubled, otherwise, stopped, attempts: _, repeated_calls: _ } = self;
        lost.is_empty() && doubled.is_empty() && otherwise.is_none() && *stopped == 0
    }

    fn count(&mut self, what: String, times: usize) {
        match times {
            0 => self.lost.push(what),
            1 => {}
            _ => self.doubled.push(what),
        }
    }
}

impl Lane {
    pub async fn begin(&self) -> Result<TurnId> {
        let prompt = format!("{PROMPT}{} [[script:{}]]", self.session.id, script_name(self.number));
        self.ide.prompt(&prompt).await
    }

    /// Waits for the turn's end and holds store, screen and workspace against the script.
    pub async fn account(&self, gadget: &Gadget, api: &Api, turn: &TurnId) -> Result<Account> {
        let stored = api.finished_turn(&self.session.id, turn).await?;
        let status = self.ide.finished(turn).await?;
        let ran = ran(&gadget.workspace(&self.session.id)).unwrap_or_default();
        Account::of(&Outcome {
            answers: &answers(self.number),
            lines: &LINES,
            ran: &ran,
            stored: &stored,
            status,
            screen: &self.ide.turn(turn),
            order: &self.ide.order(),
        })
    }
}

impl Outcome<'_> {
    fn is_whole(&self) -> Result<()> {
        let Self { answers, lines: _, ran: _, stored, status, screen, order } = self;
        ensure!(stored.status == ChatTurnStatus::Finished, "the turn ended as {:?}", stored.status);
        ensure!(*status == ChatTurnStatus::Finished, "the screen shows the end {status:?}");
        let (kept, wanted) = (said(&stored.blocks)?, scripted(answers));
        ensure!(kept == wanted, "the store has {kept:#?}, the script says {wanted:#?}");
        all_ended_well(&stored.tool_calls)?;
        same(screen, &stored.blocks)?;
        let gaps = &order.gaps;
        ensure!(gaps.is_empty(), "the screen has gaps: {gaps:?}");
        Ok(())
    }
}

/// What must be there once.
fn pieces(answers: &[Answer]) -> Vec<Said> {
    let steps = answers.iter().flat_map(|answer| answer.nth_try(usize::MAX));
    steps.flat_map(|step| scripted(&[Answer::new([step.clone()])])).collect()
}

/// How often a block holds the piece.
fn times(piece: &Said, block: &Said) -> usize {
    match (piece, block) {
        (Said::Thinking(piece), Said::Thinking(text)) | (Said::Responding(piece), Said::Responding(text)) => {
            text.matches(piece.trim()).count()
        }
        (piece, block) => usize::from(piece == block),
    }
}

/// What the commands have left behind.
fn ran(workspace: &Path) -> Result<String> {
    let file = checkout_in(workspace)?.join(RAN);
    std::fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))
}
