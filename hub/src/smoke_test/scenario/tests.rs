use std::sync::Mutex;

use serde_json::{Value, json};

use super::*;

/// An installation in which each look moves things on by one, unless something is wrong with it.
#[derive(Debug, Default)]
struct Played {
    fault: Option<Fault>,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    NotLetIn,
    NeverReady,
    OverAtOnce,
    NoSecondPod,
    LostCall,
    FirstDroneAlone,
    StaysBehind,
}

#[derive(Debug, Default)]
struct State {
    refusals: u32,
    done: Vec<&'static str>,
    session: bool,
    looks: u32,
    killed: bool,
    turns: u32,
}

impl Played {
    fn with(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::default() }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn did(&self, what: &'static str) {
        self.state.lock().unwrap().done.push(what);
    }
}

fn turn(status: &str, attempts: u32, calls: &[(&str, &str)]) -> ChatTurn {
    let at = "2025-01-01T00:00:00Z";
    let calls: Vec<Value> = calls
        .iter()
        .map(|(id, status)| {
            json!({
                "callId": id, "name": "list", "parameters": "{}", "response": "", "status": status,
                "isError": false, "startedAt": at,
            })
        })
        .collect();
    let blocks = match status {
        "finished" => json!([{ "mode": "responding", "createdAt": at, "content": "Done." }]),
        _ => json!([]),
    };
    serde_json::from_value(json!({
        "_id": "t1", "createdAt": at, "user": "u1", "project": "p1", "session": "s1", "provider": "demo",
        "llm": "tour", "mode": "build", "reasoningEffort": "off", "status": status,
        "prompts": { "user": PROMPT }, "blocks": blocks, "toolCalls": calls, "lastSeq": 5,
        "attempts": attempts, "stats": protocol::document::TurnStats::default(),
    }))
    .unwrap()
}

#[async_trait]
impl Installation for Played {
    async fn sign_in(&mut self) -> anyhow::Result<()> {
        let refusals = {
            let mut state = self.state.lock().unwrap();
            state.refusals += 1;
            state.refusals
        };
        if refusals == 1 || self.is(Fault::NotLetIn) {
            bail!("the hub says no");
        }
        self.did("sign in");
        Ok(())
    }

    async fn sign_out(&mut self) -> anyhow::Result<()> {
        self.did("sign out");
        Ok(())
    }

    async fn make_session(&mut self) -> anyhow::Result<()> {
        self.did("make");
        self.state.lock().unwrap().session = true;
        Ok(())
    }

    async fn session(&self) -> anyhow::Result<Look> {
        let mut state = self.state.lock().unwrap();
        state.looks += 1;
        let ready = state.looks > 3 && !self.is(Fault::NeverReady);
        Ok(if ready { Look::Ready { uid: "s1".into() } } else { Look::NotYet("its image is fetched".into()) })
    }

    async fn pod(&self) -> anyhow::Result<Option<String>> {
        let killed = self.state.lock().unwrap().killed;
        Ok(match killed {
            true if self.is(Fault::NoSecondPod) => None,
            true => Some("pod-2".into()),
            false => Some("pod-1".into()),
        })
    }

    async fn delete_pod(&self, uid: &str) -> anyhow::Result<()> {
        assert_eq!(uid, "pod-1");
        self.did("kill");
        self.state.lock().unwrap().killed = true;
        Ok(())
    }

    async fn prompt(&mut self, uid: &str, _text: &str) -> anyhow::Result<TurnId> {
        assert_eq!(uid, "s1");
        self.did("prompt");
        Ok("t1".into())
    }

    async fn turn(&self) -> anyhow::Result<ChatTurn> {
        let (looks, killed) = {
            let mut state = self.state.lock().unwrap();
            state.turns += 1;
            (state.turns, state.killed)
        };
        if self.is(Fault::OverAtOnce) {
            return Ok(turn("finished", 1, &[("a", "finished")]));
        }
        let calls = [("a", "finished"), ("b", "finished"), ("c", "running")];
        if looks < 3 || !killed {
            return Ok(turn("processing", 1, &calls[..usize::try_from(looks.min(3)).unwrap()]));
        }
        let attempts = if self.is(Fault::FirstDroneAlone) { 1 } else { 2 };
        let last = if self.is(Fault::LostCall) { "running" } else { "finished" };
        Ok(turn("finished", attempts, &[("a", "finished"), ("b", "finished"), ("c", last)]))
    }

    async fn delete_session(&self) -> anyhow::Result<()> {
        let mut state = self.state.lock().unwrap();
        if std::mem::take(&mut state.session) {
            state.done.push("delete");
        }
        Ok(())
    }

    async fn left(&self) -> anyhow::Result<Option<String>> {
        let made = self.state.lock().unwrap().done.contains(&"make");
        Ok((made && self.is(Fault::StaysBehind)).then(|| "the claim ws-trial".to_owned()))
    }
}

/// What it said, what it did, and how it ended.
async fn tried(mut played: Played) -> (Vec<String>, Vec<&'static str>, anyhow::Result<()>) {
    let now = Instant::now();
    let deadlines = Deadlines { test: now + Duration::from_mins(3), end: now + Duration::from_mins(4) };
    let mut lines = Vec::new();
    let ended = run(&mut played, deadlines, &mut |line| {
        lines.push(line.to_owned());
        Ok(())
    })
    .await;
    (lines, played.state.into_inner().unwrap().done, ended)
}

#[tokio::test(start_paused = true)]
async fn each_step_is_said_and_nothing_is_left() {
    let (lines, done, ended) = tried(Played::default()).await;
    ended.unwrap();
    let expected = [
        "signed in at the hub by the service account's token",
        "made a session",
        "its drone is ready in a pod",
        "the hub took a prompt for the demo provider: turn t1",
        "deleted the drone's pod in the middle, after 2 tool calls",
        "the next pod of the drone is there",
        "the turn ended whole: 3 tool calls, each with its result",
        "removed the session with its pod and its workspace",
        "passed: a turn outlived its drone",
    ];
    assert_eq!(lines, expected);
    assert_eq!(done, ["sign in", "make", "prompt", "kill", "delete", "sign out"]);
}

#[tokio::test(start_paused = true)]
async fn each_fault_fails_in_a_sentence_and_is_cleared_up_after() {
    for (fault, words) in [
        (Fault::NotLetIn, "failed to sign in at the hub: the hub says no"),
        (Fault::NeverReady, "waited too long for the session to be ready; last seen: its image is fetched"),
        (
            Fault::OverAtOnce,
            "the turn was over before its drone could be killed: Finished after 1 tool calls",
        ),
        (Fault::NoSecondPod, "waited too long for another pod; last seen: there is none"),
        (Fault::LostCall, "the turn did not end whole: the call of list has no result"),
        (Fault::FirstDroneAlone, "the turn did not end whole: no second drone worked on it"),
    ] {
        let (lines, done, ended) = tried(Played::with(fault)).await;
        let error = format!("{:#}", ended.unwrap_err());
        assert!(error.ends_with(words), "{fault:?}: {error}");
        assert!(lines.iter().any(|line| line.starts_with("failed: ") && line.ends_with(words)), "{lines:?}");
        assert!(!lines.iter().any(|line| line.starts_with("passed")), "{lines:?}");
        assert_eq!(done.contains(&"make"), done.contains(&"delete"), "{fault:?}: {done:?}");
        assert_eq!(done.last(), Some(&"sign out"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_stays_behind_is_a_failure() {
    let (lines, _done, ended) = tried(Played::with(Fault::StaysBehind)).await;
    let error = format!("{:#}", ended.unwrap_err());
    assert_eq!(error, "waited too long for the session to be gone; last seen: the claim ws-trial");
    assert!(lines.last().is_some_and(|line| line.starts_with("failed to clear up: ")), "{lines:?}");
}

#[test]
fn a_call_that_is_told_twice_is_not_whole() {
    let twice = turn("finished", 2, &[("a", "finished"), ("a", "finished")]);
    assert_eq!(whole(&twice), Err("a tool call is there twice".to_owned()));
    assert_eq!(whole(&turn("finished", 2, &[("a", "finished")])), Ok(()));
}
