//! Carries out what a session's state wants. Decides nothing: what can fail answers by an input.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use protocol::document::{ChatSession, NEW_SESSION_NAME};
use protocol::drone::{HelloAck, name as drone_name};
use protocol::error::{Code, Refusal};
use protocol::ide::name;
use protocol::ids::{ChatSessionId, DroneId, TurnId, UserId, WorkspaceId};
use serde_json::{Value, json};

use crate::app::SharedApp;
use crate::provider::title;
use crate::session::actor::Work;
use crate::session::responder::Responder;
use crate::session::state::effect::{Command, Dispatch, Effect, NewTurn, Note};
use crate::session::state::input::{ClaimedDrone, Input, Unanswered};
use crate::session::{ConnId, drones, work_order};
use crate::socket::drone::Pause;
use crate::socket::frame::Frame;
use crate::store::{Append, EventRecord, Rename, SessionPatch, StoreError, TurnEnd, TurnPatch, refuse};

/// A reader drone inbox below this may be read again.
const INBOX_ROOM: usize = 256;
/// The state's own deadlines come first; this only ends what it has given up.
const COMMAND_LIMIT: Duration = Duration::from_mins(3);

pub(super) struct Performer {
    app: SharedApp,
    session: ChatSessionId,
    user: UserId,
    /// The drone's connection that was last dealt with, whose reading an inbox may have stopped.
    drone: Option<ConnId>,
    store_fails: bool,
}

impl Performer {
    pub(super) fn new(app: SharedApp, session: &ChatSession) -> Self {
        Self { app, session: session.id.clone(), user: session.user.clone(), drone: None, store_fails: false }
    }

    pub(super) fn perform(&mut self, effect: Effect, work: &Work) {
        match effect {
            Effect::Answer(answer, args) => answer.answer(args),
            Effect::Show { to, event } => self.show(&to, &event),
            Effect::Replay { conn, events, tell_when_drained } => {
                self.replay(conn, &events, tell_when_drained, work);
            }
            Effect::Tell { to, note } => self.tell(&to, note),
            Effect::TabTaken { conn, by_itself } => {
                self.app.sockets.with_ide(conn, |ide| ide.tab_taken(&self.session, by_itself));
            }
            Effect::TabLost { conn } => {
                self.app.sockets.with_ide(conn, |ide| ide.tab_lost(&self.session));
            }
            Effect::Forget { conn, upto } => {
                self.app.sockets.with_ide(conn, |ide| ide.forget(&self.session, upto));
            }
            Effect::KillIde { conn } => {
                self.app.sockets.with_ide(conn, |ide| ide.outbox.kill());
            }
            Effect::Probe { conn, within } => self.probe(conn, within, work),
            Effect::LoadPage { conn, after, limit } => self.load_page(conn, after, limit, work),
            Effect::LoadTurn { conn, turn } => self.load_turn(conn, turn, work),
            Effect::Claim { ticket, choice } => {
                let (app, session, user) = (Arc::clone(&self.app), self.session.clone(), self.user.clone());
                add(work, async move {
                    let drone = drones::claim(&app, &session, &user, &choice).await;
                    Some(Input::Claimed { ticket, drone: drone.map(|drone| ClaimedDrone { drone }) })
                });
            }
            Effect::Dismiss { drone } => {
                let (app, session) = (Arc::clone(&self.app), self.session.clone());
                add(work, async move {
                    drones::dismiss(&app, &drone, &session).await;
                    None
                });
            }
            Effect::Suspend { drone } => {
                let app = Arc::clone(&self.app);
                add(work, async move {
                    drones::suspend_idle(&app, &drone).await;
                    None
                });
            }
            Effect::Command { ticket, conn, command } => {
                let answer = self.command(conn, command);
                add(work, async move { Some(Input::Answered { ticket, answer: answer.await }) });
            }
            Effect::Welcome { answer, drone, generation, locked, stored_seq } => {
                self.welcome(answer, &drone, generation, locked, stored_seq);
            }
            Effect::PauseDrone { conn, paused } => {
                self.app.sockets.with_drone(conn, |drone| drone.pause(Pause::Store, paused));
            }
            Effect::KillDrone { conn } => {
                self.app.sockets.with_drone(conn, |drone| drone.outbox.kill());
            }
            Effect::StoreTurn(turn) => self.store_turn(turn, work),
            Effect::PatchTurn { turn, patch } => self.patch_turn(turn, patch, work),
            Effect::Dispatch(dispatch) => self.dispatch(dispatch, work),
            Effect::Append { events, end } => self.append(&events, end, work),
            Effect::NameSession { prompt } => self.name_session(prompt, work),
            Effect::NoteWorkspace { workspace } => self.note_workspace(workspace, work),
        }
    }

    /// Reading from the drone goes on once its inbox has been worked off.
    pub(super) fn drone_inbox_has_room(&self, waiting: usize) {
        if waiting < INBOX_ROOM
            && let Some(conn) = self.drone
        {
            self.app.sockets.with_drone(conn, |drone| drone.pause(Pause::Inbox, false));
        }
    }

    /// Tells whether this session's events wait for a store that fails.
    pub(super) fn note_health(&mut self, fails: bool) {
        if fails != self.store_fails {
            self.store_fails = fails;
            self.app.sessions.note_store_failing(fails);
            self.app.sockets.metrics.store_failing.inc_by(if fails { 1 } else { -1 });
        }
    }

    fn show(&self, to: &[ConnId], event: &EventRecord) {
        match Frame::event(event, false) {
            Ok(frame) => {
                let name = event.event.name.as_str();
                for conn in to {
                    self.app.sockets.with_ide(*conn, |ide| ide.outbox.event(name, frame.clone()));
                }
            }
            // It was read as JSON when it came.
            Err(error) => tracing::error!(seq = event.seq, %error, "failed to encode an event"),
        }
    }

    fn replay(&self, conn: ConnId, events: &[Arc<EventRecord>], tell_when_drained: bool, work: &Work) {
        let drained = self.app.sockets.with_ide(conn, |ide| {
            for event in events {
                if let Ok(frame) = Frame::event(event, true) {
                    ide.outbox.event(event.event.name.as_str(), frame);
                }
            }
            tell_when_drained.then(|| ide.outbox.drained())
        });
        if let Some(drained) = drained.flatten() {
            add(work, drained.map(move |_gone_or_done| Some(Input::Drained { conn })));
        }
    }

    fn tell(&self, to: &[ConnId], note: Note) {
        let (name, frame) = match note {
            Note::Built { name, args } => (name, Frame::built(args)),
            Note::Raw { name, args } => (name, Frame::raw(args)),
        };
        for conn in to {
            self.app.sockets.with_ide(*conn, |ide| ide.outbox.event(name, frame.clone()));
        }
    }

    fn probe(&self, conn: ConnId, within: Duration, work: &Work) {
        let lifeline = self.app.sockets.with_ide(conn, |ide| ide.outbox.lifeline().clone());
        if let Some(lifeline) = lifeline {
            lifeline.probe(Some(within));
            add(work, async move {
                tokio::time::sleep(within * 2).await;
                lifeline.probe(None);
                None
            });
        }
    }

    fn load_page(&self, conn: ConnId, after: u64, limit: u32, work: &Work) {
        let (app, session) = (Arc::clone(&self.app), self.session.clone());
        add(work, async move {
            let events = match app.store.events_after(&session, after, limit).await {
                Ok(events) => Some(events.into_iter().map(Arc::new).collect()),
                Err(error) => {
                    log_store("read events", &session, &error);
                    None
                }
            };
            Some(Input::PageLoaded { conn, events })
        });
    }

    fn load_turn(&self, conn: ConnId, turn: Option<TurnId>, work: &Work) {
        let (app, session) = (Arc::clone(&self.app), self.session.clone());
        add(work, async move {
            let turn = work_order::shown_turn(&*app.store, &session, turn).await;
            Some(Input::TurnLoaded { conn, turn: turn.map(|turn| turn.map(Box::new)).map_err(refuse) })
        });
    }

    fn command(
        &mut self,
        conn: ConnId,
        command: Command,
    ) -> impl Future<Output = Result<Vec<Value>, Unanswered>> + Send + use<> {
        self.drone = Some(conn);
        let drone = self.app.sockets.drone(conn);
        let (app, session) = (Arc::clone(&self.app), self.session.clone());
        // Commands that need no documents are handed over at once, in the order in which they were decided.
        let simple = match &command {
            Command::Lock => None,
            Command::Release => Some((name::RELEASE_SESSION_LOCK, nothing(3))),
            Command::Heartbeat => Some((name::SESSION_HEARTBEAT, Frame::built(vec![]))),
            Command::Mode(mode) => {
                let args = vec![Value::Null, Value::Null, Value::Null, mode.as_str().into()];
                Some((name::REQUEST_WORKSPACE_MODE, Frame::built(args)))
            }
            Command::Abort => Some((name::ABORT_WORK_ORDER, Frame::built(vec![]))),
            Command::File { event, argument } => Some((*event, Frame::built(vec![argument.clone()]))),
            Command::Recovery(response) => {
                if let Some(drone) = &drone {
                    let frame = Frame::built(vec![json!(response)]);
                    drone.outbox.event(drone_name::CRASH_RECOVERY_RESPONSE, frame);
                }
                None
            }
        };
        let is_lock = matches!(command, Command::Lock);
        let asked =
            drone.as_ref().zip(simple).map(|(drone, (event, frame))| drone.ask(event, frame, COMMAND_LIMIT));
        async move {
            match (asked, drone) {
                (Some(asked), _) => asked.await,
                (None, Some(drone)) if is_lock => {
                    let args = work_order::lock_args(&*app.store, &session, &drone.drone).await;
                    let args = args.map_err(|error| {
                        log_store("read documents", &session, &error);
                        Unanswered::NotSent
                    })?;
                    drone.ask(name::REQUEST_SESSION_LOCK, Frame::built(args), COMMAND_LIMIT).await
                }
                // Needs no answer, or nobody is there.
                (None, _) => Err(Unanswered::Disconnected),
            }
        }
    }

    fn welcome(
        &mut self,
        answer: Responder,
        drone: &DroneId,
        generation: u64,
        locked: bool,
        stored_seq: Option<u64>,
    ) {
        let token = if locked {
            match self.app.auth.mint_drone_session(drone, &self.session, &self.user, generation) {
                Ok(token) => Some(token),
                Err(error) => {
                    tracing::error!(%drone, error = &error as &dyn std::error::Error, "failed to mint a session token");
                    let refusal = Refusal::new(Code::Internal, "no session token can be had");
                    return answer.answer(vec![false.into(), json!(refusal)]);
                }
            }
        } else {
            None
        };
        let (session_token, expires_at) = token.map(|issued| (issued.token, issued.expires_at)).unzip();
        let ack = HelloAck { generation, session_token, expires_at, stored_seq };
        answer.answer(vec![json!(ack)]);
    }

    fn store_turn(&self, new: NewTurn, work: &Work) {
        let (app, session) = (Arc::clone(&self.app), self.session.clone());
        add(work, async move {
            let turn = new.turn.clone();
            let stored = work_order::store_turn(&app, &session, new).await;
            if stored.is_ok() {
                app.sockets.metrics.turns_started.inc();
            }
            Some(Input::TurnStored { turn, stored: stored.map(Box::new) })
        });
    }

    fn patch_turn(&self, turn: TurnId, patch: TurnPatch, work: &Work) {
        let (app, session) = (Arc::clone(&self.app), self.session.clone());
        add(work, async move {
            if let Err(error) = app.store.patch_turn(&turn, patch).await {
                log_store("change a turn", &session, &error);
            }
            None
        });
    }

    fn dispatch(&mut self, dispatch: Dispatch, work: &Work) {
        self.drone = Some(dispatch.conn);
        let (app, session) = (Arc::clone(&self.app), self.session.clone());
        let drone = self.app.sockets.drone(dispatch.conn);
        add(work, async move {
            let ticket = dispatch.ticket;
            let Some(drone) = drone else {
                return Some(Input::Answered { ticket, answer: Err(Unanswered::Disconnected) });
            };
            let answer = match work_order::prepare(&*app.store, &session, &dispatch).await {
                Ok(args) => {
                    app.sockets.metrics.attempts.inc();
                    drone.ask(drone_name::PROCESS_WORK_ORDER, Frame::raw(args), COMMAND_LIMIT).await
                }
                Err(error) => {
                    log_store("prepare a work order", &session, &error);
                    Err(Unanswered::NotSent)
                }
            };
            Some(Input::Answered { ticket, answer })
        });
    }

    fn append(&self, events: &[Arc<EventRecord>], end: Option<TurnEnd>, work: &Work) {
        let (app, session) = (Arc::clone(&self.app), self.session.clone());
        let events = events.iter().map(|event| EventRecord::clone(event)).collect();
        let ended = end.as_ref().map(|end| (end.status, end.stats.time_to_first_token_ms));
        let append = Append { session: session.clone(), events, end };
        add(work, async move {
            let stored = match app.store.append(append).await {
                Ok(()) => true,
                Err(error) => {
                    log_store("store events", &session, &error);
                    false
                }
            };
            if let Some((status, first_token)) = ended.filter(|_| stored) {
                app.sockets.metrics.turn_ended(status, first_token);
            }
            Some(Input::Appended { stored })
        });
    }

    fn note_workspace(&self, workspace: WorkspaceId, work: &Work) {
        let (app, session) = (Arc::clone(&self.app), self.session.clone());
        add(work, async move {
            let patch = SessionPatch { workspace_id: Some(workspace.clone()), ..SessionPatch::default() };
            match app.store.patch_session(&session, patch).await {
                Ok(_) => Some(Input::SessionUpdated(json!({ "_id": session, "workspaceId": workspace }))),
                Err(error) => {
                    log_store("note a session's workspace", &session, &error);
                    None
                }
            }
        });
    }

    fn name_session(&self, prompt: String, work: &Work) {
        let (app, session) = (Arc::clone(&self.app), self.session.clone());
        add(work, async move {
            match name_session(&app, &session, &prompt).await {
                Ok(changed) => changed.map(Input::SessionUpdated),
                Err(error) => {
                    log_store("name a session", &session, &error);
                    None
                }
            }
        });
    }
}

async fn name_session(
    app: &SharedApp,
    id: &ChatSessionId,
    prompt: &str,
) -> Result<Option<Value>, StoreError> {
    let session = app.store.session(id).await?.filter(|session| session.name == NEW_SESSION_NAME);
    let Some(session) = session else { return Ok(None) };
    // Without a model the words decide; the turn itself says what is wrong with the model.
    let Ok(target) = app.providers.resolve(&session, prompt).await else { return Ok(None) };
    let name = title::title(&app.providers, &target, prompt).await;
    // Somebody may have named it meanwhile.
    let name = Rename::From { from: NEW_SESSION_NAME, to: name };
    let patch = SessionPatch { name: Some(name), ..SessionPatch::default() };
    let session = app.store.patch_session(id, patch).await?;
    Ok(Some(json!({ "_id": id, "name": session.name })))
}

fn add(work: &Work, future: impl Future<Output = Option<Input>> + Send + 'static) {
    work.push(Box::pin(future));
}

fn nothing(count: usize) -> Frame {
    Frame::built(vec![Value::Null; count])
}

pub(super) fn store_unavailable() -> Refusal {
    Refusal::new(Code::StoreUnavailable, "the store does not answer; nothing was changed, try again")
}

fn log_store(what: &str, session: &ChatSessionId, error: &StoreError) {
    tracing::error!(%session, error = error as &dyn std::error::Error, "failed to {what}");
}
