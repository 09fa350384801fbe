//! A chat session over Socket.IO, as the page has it: locked, live, and back at the same place after a lost connection.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::{AuthError, Client, Config, Connection, EmitError, Incoming};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use protocol::document::ChatTurn;
use protocol::event::{EventName, Meta, RawEvent, TurnEvent};
use protocol::ide::{FollowAnswer, name};
use protocol::ids::{ChatSessionId, ProjectId, TurnId};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use crate::access::HubAccess;

/// The hub may have to start a drone and clone a project before it answers.
const LOCK_TIMEOUT: Duration = Duration::from_mins(3);
const ACK_TIMEOUT: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(19);

/// Which session, and of which project.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub session: ChatSessionId,
    pub project: ProjectId,
}

pub(crate) struct Live {
    target: Target,
    incoming: mpsc::Receiver<Incoming>,
    client: Client,
    connection: Option<Connection>,
    /// Of the last event that was handed out: what a replay repeats is passed over. 0: none yet.
    last_seq: Arc<AtomicU64>,
    /// The session was locked before, or its past is asked for: what was missed is fetched at the next lock.
    resumes: bool,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    heartbeat: Interval,
}

/// What happened next.
#[derive(Debug)]
pub(crate) enum Update {
    /// This terminal has the session; prompts may be given.
    Locked,
    Submitted(TurnId),
    Aborting,
    /// An event as it came; parsed where it belongs to a turn.
    Event(Box<WireEvent>),
    /// What was missed cannot be told one by one: this is how the turn stands.
    CaughtUp(Box<ChatTurn>),
    /// Something that was asked for did not come about.
    Refused(Request, String),
    /// The connection is lost, or cannot be made yet; it is tried again by itself.
    Away(String),
    /// It is over: no attempt can succeed.
    Gone(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Lock,
    Submit,
    Abort,
    Resume,
}

#[derive(Debug)]
pub(crate) struct WireEvent {
    pub name: String,
    pub args: Vec<Box<RawValue>>,
    pub turn: Option<(TurnEvent, Meta)>,
}

enum Answer {
    Locked(Result<(bool, Option<String>, Option<LockDetail>), Failure>),
    Submitted(Result<(bool, SubmitDetail), Failure>),
    Aborted(Result<(bool, Option<String>), Failure>),
    Resumed(Result<(bool, Box<FollowAnswer>), Failure>),
    /// Nothing to tell.
    Heartbeat,
}

/// Of a refusal; a success has other things in this place.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct LockDetail {
    message: Option<String>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SubmitDetail {
    turn_id: Option<TurnId>,
    message: Option<String>,
}

/// Why an answer did not come, or cannot be read.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the hub did not answer")]
    Ask(#[source] EmitError),
    #[error("the hub's answer is not as expected")]
    Read(#[source] serde_json::Error),
}

impl Live {
    /// Connects, and locks the session once connected. `after`: the number of the last event that the reader knows;
    /// without it only what happens from now on is told.
    pub(crate) fn open(access: &HubAccess, target: Target, after: Option<u64>) -> anyhow::Result<Self> {
        let access = access.clone();
        let config = Config::new(&access.url)?;
        let tab = uuid::Uuid::new_v4().to_string();
        let last_seq = Arc::new(AtomicU64::new(after.unwrap_or(0)));
        let (seen, session) = (Arc::clone(&last_seq), target.session.clone());
        let auth = move |_| {
            let token = access.token().map_err(|error| AuthError::Stop(error.into()));
            let mut payload = json!({ "tabId": tab });
            match seen.load(Ordering::Relaxed) {
                0 => {}
                seq => payload["lastSeq"] = json!({ session.as_str(): seq }),
            }
            async move {
                payload["token"] = token?.into();
                Ok(payload)
            }
        };
        let (client, incoming) = client::connect(config, auth)?;
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            target,
            incoming,
            client,
            connection: None,
            last_seq,
            resumes: after.is_some(),
            answers: FuturesUnordered::new(),
            heartbeat,
        })
    }

    pub(crate) async fn close(self) {
        self.client.close().await;
    }

    /// May be dropped while it waits; nothing is lost then.
    pub(crate) async fn next(&mut self) -> Update {
        loop {
            let update = tokio::select! {
                // An answer is handed out before the events that came after it.
                biased;
                Some(answer) = self.answers.next() => self.answered(answer),
                incoming = self.incoming.recv() => match incoming {
                    Some(incoming) => self.came(incoming),
                    None => Some(Update::Gone("the connection is closed".to_owned())),
                },
                _ = self.heartbeat.tick() => {
                    self.beat();
                    None
                }
            };
            if let Some(update) = update {
                return update;
            }
        }
    }

    pub(crate) fn submit(&mut self, prompt: &str) {
        self.ask(name::SUBMIT_PROMPT, vec![json!(prompt)], ACK_TIMEOUT, Answer::Submitted);
    }

    pub(crate) fn abort(&mut self) {
        self.ask(name::ABORT_WORK_ORDER, vec![], ACK_TIMEOUT, Answer::Aborted);
    }

    fn came(&mut self, incoming: Incoming) -> Option<Update> {
        match incoming {
            Incoming::Connected(connection) => {
                self.connection = Some(connection);
                let Target { session, project } = &self.target;
                let args = vec![json!(null), json!({ "_id": project }), json!({ "_id": session }), json!({})];
                self.ask(name::REQUEST_SESSION_LOCK, args, LOCK_TIMEOUT, Answer::Locked);
                None
            }
            Incoming::Event(event) => self.event(event),
            Incoming::Disconnected { epoch: _, reason } => {
                self.connection = None;
                Some(Update::Away(format!("connection lost ({reason}), coming back")))
            }
            Incoming::ConnectFailed { error, retry_in: _ } => {
                Some(Update::Away(format!("{}; trying again", chain(&error))))
            }
            Incoming::Fatal(fatal) => Some(Update::Gone(chain(&fatal))),
        }
    }

    fn event(&mut self, event: client::Event) -> Option<Update> {
        let client::Event { name, args, responder: _ } = event;
        let args = args.into_vec();
        let turn = parse(&name, &args);
        if let Some((_, meta)) = &turn
            && self.last_seq.fetch_max(meta.seq, Ordering::Relaxed) >= meta.seq
        {
            return None;
        }
        Some(Update::Event(Box::new(WireEvent { name, args, turn })))
    }

    fn answered(&mut self, answer: Answer) -> Option<Update> {
        let refused = |request, why: String| Some(Update::Refused(request, why));
        match answer {
            Answer::Locked(Ok((true, _, _))) => {
                if std::mem::replace(&mut self.resumes, true) {
                    let Target { session, project: _ } = &self.target;
                    let place =
                        json!({ "chatSessionId": session, "lastSeq": self.last_seq.load(Ordering::Relaxed) });
                    self.ask(name::RESUME, vec![place], ACK_TIMEOUT, Answer::Resumed);
                }
                Some(Update::Locked)
            }
            Answer::Locked(Ok((false, _, detail))) => refused(
                Request::Lock,
                detail.and_then(|detail| detail.message).unwrap_or_else(|| "no reason given".to_owned()),
            ),
            Answer::Submitted(Ok((true, SubmitDetail { turn_id: Some(turn), message: _ }))) => {
                Some(Update::Submitted(turn))
            }
            Answer::Submitted(Ok((_, SubmitDetail { turn_id: _, message }))) => {
                refused(Request::Submit, message.unwrap_or_else(|| "no reason given".to_owned()))
            }
            Answer::Aborted(Ok((true, _))) => Some(Update::Aborting),
            Answer::Aborted(Ok((false, why))) => refused(Request::Abort, why.unwrap_or_default()),
            Answer::Resumed(Ok((success, answer))) => {
                let FollowAnswer { from_seq: _, to_seq: _, turn, code: _, message } = *answer;
                match (turn, message) {
                    (Some(turn), _) => {
                        // Lower than what was shown where the hub and the drone both died: those numbers are given out anew.
                        self.last_seq.store(turn.last_seq, Ordering::Relaxed);
                        Some(Update::CaughtUp(Box::new(turn)))
                    }
                    (None, Some(why)) if !success => refused(Request::Resume, why),
                    (None, _) => None,
                }
            }
            Answer::Heartbeat => None,
            Answer::Locked(Err(failure)) => Self::failed(Request::Lock, &failure),
            Answer::Submitted(Err(failure)) => Self::failed(Request::Submit, &failure),
            Answer::Aborted(Err(failure)) => Self::failed(Request::Abort, &failure),
            Answer::Resumed(Err(failure)) => Self::failed(Request::Resume, &failure),
        }
    }

    /// A lock or a resume that went with its connection is asked for again on the next one.
    fn failed(request: Request, failure: &Failure) -> Option<Update> {
        match (request, failure) {
            (Request::Lock | Request::Resume, Failure::Ask(EmitError::ConnectionLost)) => None,
            _ => Some(Update::Refused(request, chain(failure))),
        }
    }

    fn beat(&mut self) {
        self.ask(name::SESSION_HEARTBEAT, vec![], ACK_TIMEOUT, |_: Result<(bool,), Failure>| {
            Answer::Heartbeat
        });
    }

    /// The answer comes out of [`Live::next`], so that events are taken meanwhile.
    fn ask<T: serde::de::DeserializeOwned>(
        &mut self,
        event: &'static str,
        args: Vec<serde_json::Value>,
        timeout: Duration,
        answer: impl FnOnce(Result<T, Failure>) -> Answer + Send + 'static,
    ) {
        let connection = self.connection.clone();
        self.answers.push(Box::pin(async move {
            let Some(connection) = connection else {
                return answer(Err(Failure::Ask(EmitError::ConnectionLost)));
            };
            match connection.request(event, &args, timeout).await {
                Ok(args) => answer(args.parse().map_err(Failure::Read)),
                Err(error) => answer(Err(Failure::Ask(error))),
            }
        }));
    }
}

/// An event of a turn: its last argument is the meta, the others are what the drone sent.
fn parse(name: &str, args: &[Box<RawValue>]) -> Option<(TurnEvent, Meta)> {
    let name = EventName::parse(name)?;
    let (meta, args) = args.split_last()?;
    let meta: Meta = serde_json::from_str(meta.get()).ok()?;
    let args = serde_json::value::to_raw_value(args).ok()?;
    let event = RawEvent { name, args, notes: meta.notes }.parse().ok()?;
    Some((event, meta))
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lock => "the session could not be opened",
            Self::Submit => "the prompt was refused",
            Self::Abort => "the turn could not be stopped",
            Self::Resume => "what was missed could not be fetched",
        })
    }
}

#[cfg(test)]
mod tests {
    use protocol::document::TurnStats as ChatTurnStats;

    use super::*;

    fn raw(value: serde_json::Value) -> Box<RawValue> {
        serde_json::value::to_raw_value(&value).unwrap()
    }

    #[tokio::test]
    async fn events_that_follow_a_stored_turn_are_told_though_higher_numbers_were_seen() {
        let access = HubAccess::with_file("http://127.0.0.1:1", "/nonexistent".into());
        let target = Target { session: "s1".into(), project: "p1".into() };
        let mut live = Live::open(&access, target, Some(99)).unwrap();
        let turn = json!({
            "_id": "t1", "createdAt": "2025-01-01T00:00:00Z", "user": "u1", "project": "p1", "session": "s1",
            "provider": "x", "llm": "m", "mode": "build", "reasoningEffort": "off", "status": "processing",
            "prompts": { "user": "hi" }, "blocks": [], "toolCalls": [], "lastSeq": 5, "attempts": 2,
            "stats": ChatTurnStats::default(),
        });
        let turn = serde_json::from_value(turn).unwrap();
        let answer = FollowAnswer { turn: Some(turn), ..FollowAnswer::default() };
        let caught_up = live.answered(Answer::Resumed(Ok((true, Box::new(answer)))));
        assert!(matches!(caught_up, Some(Update::CaughtUp(_))));
        let mut event = |seq: u64| {
            let meta = json!({ "turnId": "t1", "seq": seq, "at": "2025-01-01T00:00:00Z" });
            let args = vec![raw(json!("more")), raw(meta)];
            live.event(client::Event {
                name: "response".into(),
                args: client::Args::new(args),
                responder: None,
            })
        };
        assert!(event(5).is_none(), "what the turn has already is not told again");
        assert!(event(6).is_some());
    }

    #[test]
    fn a_turn_event_is_read_with_its_meta_and_others_are_left_as_they_are() {
        let meta = json!({ "turnId": "t1", "seq": 4, "at": "2025-01-01T00:00:00Z" });
        let (event, meta) = parse("response", &[raw(json!("hi")), raw(meta)]).unwrap();
        assert_eq!(event, TurnEvent::Response { content: "hi".to_owned() });
        assert_eq!((meta.seq, meta.turn_id.as_str()), (4, "t1"));
        assert!(parse("status", &[raw(json!("cloning"))]).is_none());
        assert!(parse("response", &[raw(json!("of an old hub, without meta"))]).is_none());
    }
}
