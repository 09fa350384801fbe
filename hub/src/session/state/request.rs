//! What an IDE asks for besides locks and turns: most of it is the drone's to answer.

use protocol::error::{Code, Refusal};
use protocol::ide::{FollowAnswer, IdeRequest, name};
use protocol::value::WorkspaceMode;
use serde_json::{Value, json};

use crate::session::ConnId;
use crate::session::responder::Responder;
use crate::session::state::ask::{Ask, Ticket};
use crate::session::state::effect::{Command, Effect};
use crate::session::state::input::{Peer, Unanswered};
use crate::session::state::tab::{LockRequest, no_session};
use crate::session::state::{State, answer};

impl State {
    pub(super) fn ide(&mut self, peer: Peer, request: IdeRequest, last_seq: Option<u64>, answer: Responder) {
        let (conn, asked) = (peer.conn, peer.asked);
        if self.deleted || peer.user != self.user {
            self.push(Effect::Forget { conn, upto: asked });
            return self.refuse(event_of(&request), answer, &super::no_such_session());
        }
        match request {
            IdeRequest::RequestSessionLock { registration, project, chat_session: _, take_over } => {
                self.request_lock(peer, last_seq, LockRequest { registration, project, take_over }, answer);
            }
            IdeRequest::ReleaseSessionLock { chat_session: _ } => self.release(conn, answer),
            IdeRequest::SessionHeartbeat => self.heartbeat(conn, answer),
            IdeRequest::RequestWorkspaceMode { chat_session: _, mode } => {
                self.request_mode(conn, mode, answer);
            }
            IdeRequest::SubmitPrompt { content } => self.submit(conn, content, answer),
            IdeRequest::AbortWorkOrder => self.abort(conn, answer),
            IdeRequest::FileTree(request) => {
                let path = request.path.clone().unwrap_or_default();
                self.file(conn, name::FILE_TREE_REQUEST, path, json!(request), answer);
            }
            IdeRequest::FileRead(request) => {
                self.file(conn, name::FILE_READ_REQUEST, request.path.clone(), json!(request), answer);
            }
            IdeRequest::FileWrite(request) => {
                self.file(conn, name::FILE_WRITE_REQUEST, request.path.clone(), json!(request), answer);
            }
            IdeRequest::Resume(request) => self.follow(conn, request.last_seq, Some(answer)),
            IdeRequest::FollowSession(request) => {
                self.follow(conn, request.last_seq, Some(answer));
                self.introduce(conn);
            }
            IdeRequest::UnfollowSession { chat_session: _ } => {
                if !self.tab.is_held_by(conn) {
                    self.viewers.remove(conn);
                }
                self.answer(answer, answer::following(&FollowAnswer::default()));
            }
            // The connection's own affair; it never comes this far.
            IdeRequest::AuthRefresh { token: _ } => {
                let refusal = Refusal::new(Code::Invalid, "not a request to a session");
                self.refuse(name::AUTH_REFRESH, answer, &refusal);
            }
        }
        self.forget_stranger(conn, asked);
    }

    fn heartbeat(&mut self, conn: ConnId, answer: Responder) {
        if !self.tab.is_held_by(conn) {
            return self.answer(answer, vec![false.into()]);
        }
        self.clocks.heard(self.now.elapsed);
        match self.drone.link {
            Some(link) if self.drone.is_locked() => {
                self.ask(link.conn, Command::Heartbeat, Ask::Heartbeat { answer });
            }
            _ => self.answer(answer, answer::done()),
        }
    }

    fn request_mode(&mut self, conn: ConnId, wanted: WorkspaceMode, answer: Responder) {
        let current = self.mode;
        let reason = if !self.tab.is_held_by(conn) {
            "this tab holds no chat session; ask for its lock first"
        } else if wanted == WorkspaceMode::Syncing || current == WorkspaceMode::Syncing {
            "the project is being synchronised; only the system enters and leaves that"
        } else if self.turn.is_some() && wanted != WorkspaceMode::Agent {
            "a turn is processing; abort it, or wait for its end"
        } else if !self.drone.is_locked() {
            self.drone.wake();
            self.advance();
            "the drone is on its way; try again in a moment"
        } else if let Some(link) = self.drone.link {
            self.clocks.worked(self.now.elapsed);
            let ask = Ask::Mode { wanted, answer };
            return self.ask(link.conn, Command::Mode(wanted), ask);
        } else {
            "the drone is not there"
        };
        self.answer(answer, answer::mode(false, current, Some(reason)));
    }

    fn file(&mut self, conn: ConnId, event: &'static str, path: String, argument: Value, answer: Responder) {
        let refusal = if !self.tab.is_held_by(conn) {
            no_session()
        } else if event == name::FILE_WRITE_REQUEST && self.mode != WorkspaceMode::User {
            Refusal::new(Code::Mode, "files can be written in user mode alone; ask for it first")
        } else if let Some(link) = self.drone.link.filter(|_| self.drone.is_locked()) {
            self.clocks.worked(self.now.elapsed);
            let ask = Ask::File { event, path, conn, answer };
            return self.ask(link.conn, Command::File { event, argument }, ask);
        } else if self.drone.held {
            super::tab::held()
        } else {
            self.drone.wake();
            self.advance();
            Refusal::new(Code::NoDrone, "the drone is on its way; try again in a moment")
        };
        self.refuse(event, answer, &refusal);
    }

    /// Sends a command to the drone and remembers who waits for it.
    pub(super) fn ask(&mut self, conn: ConnId, command: Command, ask: Ask) {
        let limit = match ask {
            Ask::Lock => self.limits.lock_command,
            _ => self.limits.command,
        };
        let ticket = self.asks.open(self.now.elapsed + limit, ask);
        self.push(Effect::Command { ticket, conn, command });
    }

    pub(super) fn answered(&mut self, ticket: Ticket, outcome: Result<Vec<Value>, Unanswered>) {
        let Some(ask) = self.asks.close(ticket) else { return };
        let args = match outcome {
            Ok(args) => args,
            Err(why) => return self.unanswered(ask, why),
        };
        let success = args.first().and_then(Value::as_bool).unwrap_or(false);
        match ask {
            Ask::Lock => self.lock_answered(if success {
                Ok(())
            } else {
                let otherwise =
                    Refusal::new(Code::DroneLocked, "the drone is locked to another chat session");
                Err(answer::drone_refusal(args.get(2), otherwise))
            }),
            Ask::Release { answer: Some(answer) } => self.answer(answer, answer::done()),
            Ask::Release { answer: None } => {}
            Ask::Heartbeat { answer } => self.answer(answer, vec![success.into()]),
            Ask::Mode { wanted, answer } => self.mode_answered(wanted, success, &args, answer),
            Ask::Abort { answer } => self.abort_answered(success, &args, answer),
            Ask::File { event, path, conn, answer } => self.file_answered(event, &path, conn, args, answer),
            Ask::Dispatch { attempt } => self.dispatch_answered(
                attempt,
                if success {
                    Ok(())
                } else {
                    let otherwise = Refusal::new(Code::Internal, "it gave no reason");
                    Err(answer::drone_refusal(args.get(1), otherwise))
                },
            ),
        }
    }

    /// The command will not be answered any more.
    pub(super) fn unanswered(&mut self, ask: Ask, why: Unanswered) {
        let refusal = match why {
            Unanswered::NotSent => {
                Refusal::new(Code::StoreUnavailable, "the store does not answer; nothing was sent")
            }
            Unanswered::TimedOut | Unanswered::Disconnected => answer::unreachable(),
        };
        match ask {
            Ask::Lock => self.lock_answered(Err(refusal)),
            Ask::Release { answer: Some(answer) } => self.answer(answer, answer::done()),
            Ask::Release { answer: None } | Ask::Abort { answer: None } => {}
            Ask::Heartbeat { answer } => self.answer(answer, vec![false.into()]),
            Ask::Mode { wanted: _, answer } => {
                let mode = self.mode;
                self.answer(answer, answer::mode(false, mode, Some(&refusal.message)));
            }
            // The wish is stored; it is carried out as soon as the drone can be reached.
            Ask::Abort { answer: Some(answer) } => {
                self.answer(answer, answer::said(true, "it stops as soon as the drone can be reached"));
            }
            Ask::File { event, path: _, conn: _, answer } => self.refuse(event, answer, &refusal),
            Ask::Dispatch { attempt } => self.dispatch_answered(attempt, Err(refusal)),
        }
    }

    fn mode_answered(&mut self, wanted: WorkspaceMode, success: bool, args: &[Value], answer: Responder) {
        let told = args.get(1).and_then(Value::as_str).and_then(WorkspaceMode::parse);
        let mode = told.unwrap_or(if success { wanted } else { self.mode });
        let reason = args.get(2).and_then(Value::as_str);
        self.answer(answer, answer::mode(success, mode, reason));
        self.set_mode(mode);
    }

    fn abort_answered(&mut self, success: bool, args: &[Value], answer: Option<Responder>) {
        let message = args.get(1).and_then(Value::as_str);
        if let Some(answer) = answer {
            let message = message.unwrap_or(if success { "stopping" } else { "the drone refused" });
            self.answer(answer, answer::said(success, message));
        }
    }

    fn file_answered(
        &mut self,
        event: &'static str,
        path: &str,
        conn: ConnId,
        args: Vec<Value>,
        answer: Responder,
    ) {
        let tree = (event == name::FILE_TREE_REQUEST)
            .then(|| answer::file_tree_response(path, args.get(1).unwrap_or(&Value::Null)));
        self.answer(answer, args);
        if let Some(tree) = tree {
            self.tell_one(conn, tree);
        }
    }
}

/// The event that a request came by.
pub fn event_of(request: &IdeRequest) -> &'static str {
    match request {
        IdeRequest::RequestSessionLock { .. } => name::REQUEST_SESSION_LOCK,
        IdeRequest::ReleaseSessionLock { .. } => name::RELEASE_SESSION_LOCK,
        IdeRequest::SessionHeartbeat => name::SESSION_HEARTBEAT,
        IdeRequest::RequestWorkspaceMode { .. } => name::REQUEST_WORKSPACE_MODE,
        IdeRequest::SubmitPrompt { .. } => name::SUBMIT_PROMPT,
        IdeRequest::AbortWorkOrder => name::ABORT_WORK_ORDER,
        IdeRequest::FileTree(_) => name::FILE_TREE_REQUEST,
        IdeRequest::FileRead(_) => name::FILE_READ_REQUEST,
        IdeRequest::FileWrite(_) => name::FILE_WRITE_REQUEST,
        IdeRequest::Resume(_) => name::RESUME,
        IdeRequest::FollowSession(_) => name::FOLLOW_SESSION,
        IdeRequest::UnfollowSession { .. } => name::UNFOLLOW_SESSION,
        IdeRequest::AuthRefresh { .. } => name::AUTH_REFRESH,
    }
}
