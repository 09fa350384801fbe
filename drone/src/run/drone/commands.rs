//! The hub's commands: each is answered, whatever it is.

use protocol::ide::refusal_ack;
use tokio::time::Instant;

use super::Drone;
use crate::connection::{Command, Request};
use crate::run::mode::{self, Situation};

impl Drone {
    pub(super) async fn command(&mut self, command: Command) {
        let Command { event, request, answer } = command;
        let request = match request {
            Ok(request) => request,
            Err(refusal) => {
                tracing::warn!(event, %refusal, "the hub asked for something that cannot be understood");
                let document = self.workspace.document();
                let session = document.chat_session.as_ref().map_or("", |session| session.id.as_str());
                return answer.send(&refusal_ack(&event, &refusal, session, self.mode));
            }
        };
        match request {
            Request::Lock { project, session } => {
                let id = session.id.clone();
                match self.lock(*project, session) {
                    Ok(()) => answer.send(&(true, id)),
                    Err(refusal) => answer.send(&(false, id, refusal)),
                }
            }
            Request::Release => match self.release() {
                Ok(()) => answer.send(&(true,)),
                Err(refusal) => answer.send(&(false, refusal)),
            },
            Request::Heartbeat => {
                self.last_heartbeat = Instant::now();
                answer.send(&(self.is_locked(),));
            }
            Request::Mode(wanted) => {
                let situation = Situation {
                    mode: self.mode,
                    is_locked: self.is_locked(),
                    has_turn: self.has_live_turn(),
                };
                match mode::request(situation, wanted) {
                    Ok(()) => {
                        answer.send(&(true, wanted));
                        self.set_mode(wanted);
                    }
                    Err(reason) => answer.send(&(false, self.mode, reason)),
                }
            }
            Request::WorkOrder(turn) => match self.take_on(turn).await {
                Ok(()) => answer.send(&(true,)),
                Err(refusal) => answer.send(&(false, refusal)),
            },
            Request::Abort => match self.abort() {
                Ok(message) => answer.send(&(true, message)),
                Err(refusal) => answer.send(&(false, refusal.message)),
            },
            Request::FileTree(request) => self.file_tree(request, answer),
            Request::FileRead(request) => self.file_read(request, answer),
            Request::FileWrite(request) => self.file_write(request, answer),
            Request::Recovery(response) => self.recovery(&response).await,
            Request::WorkspaceState => answer.send(&(true, self.workspace.document())),
            Request::Terminate => {
                answer.send(&(true,));
                self.is_terminating = true;
            }
            Request::GoingAway => tracing::info!("the hub is going away"),
        }
    }
}
