//! The lock of a chat session on this drone, and bringing its project into the workspace.

use jiff::Timestamp;
use protocol::document::Project;
use protocol::error::{Code, Refusal};
use protocol::value::{DroneStatus, LogLevel, WorkspaceMode};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use super::{Drone, Inside};
use crate::connection::LockSession;
use crate::workspace::WorkspaceError;
use crate::workspace::document::{LockedProject, LockedSession, WorkspaceDocument};

/// The synchronisation that goes on. Dropping it ends git.
pub(super) struct Syncing {
    _stop: DropGuard,
    _task: AbortOnDropHandle<()>,
}

impl Drone {
    /// Locks this drone to a session, or says why not. The project follows in the mode `syncing`.
    pub(super) fn lock(&mut self, project: Project, session: LockSession) -> Result<(), Refusal> {
        let document = self.workspace.document();
        let has_session = document.chat_session.as_ref().is_some_and(|held| held.id == session.id);
        let has_project = document.locked_project.as_ref().is_some_and(|held| held.id == project.id);
        if document.chat_session.is_some() && !has_session {
            return Err(Refusal::new(
                Code::DroneLocked,
                "this drone is locked to another chat session; release that one first",
            ));
        }
        self.last_heartbeat = Instant::now();
        if has_session && has_project {
            self.resync_if_needed();
            return Ok(());
        }
        if self.turn.as_ref().is_some_and(|turn| !turn.has_ended()) {
            return Err(Refusal::new(Code::Busy, "a turn is running in another project"));
        }
        check_slug(&project.slug)?;
        let now = Timestamp::now();
        let Project { id, slug, git_url, .. } = project;
        self.workspace
            .update(|document| {
                document.chat_session =
                    Some(LockedSession { id: session.id, name: session.name, locked_at: now });
                document.locked_project = Some(LockedProject { id, slug, git_url, locked_at: now });
                note_status(document);
            })
            .map_err(|error| refusal(&error))?;
        self.has_author = false;
        self.say_hello();
        self.begin_sync();
        Ok(())
    }

    pub(super) fn release(&mut self) -> Result<(), Refusal> {
        if self.turn.as_ref().is_some_and(|turn| !turn.has_ended()) {
            let words = "a turn is running; it keeps the lock until it is done or stopped";
            return Err(Refusal::new(Code::Busy, words));
        }
        if self.is_locked() { self.unlock() } else { Ok(()) }
    }

    pub(super) fn unlock(&mut self) -> Result<(), Refusal> {
        self.syncing = None;
        self.workspace
            .update(|document| {
                document.chat_session = None;
                document.locked_project = None;
                note_status(document);
            })
            .map_err(|error| refusal(&error))?;
        self.set_mode(WorkspaceMode::Idle);
        self.say_hello();
        Ok(())
    }

    /// A lock whose project never got here, because git failed or the process died meanwhile.
    pub(super) fn resync_if_needed(&mut self) {
        let document = self.workspace.document();
        let is_missing =
            document.locked_project.as_ref().is_some_and(|project| !document.has_checkout(&project.id));
        if is_missing && self.syncing.is_none() && self.turn.is_none() {
            self.begin_sync();
        }
    }

    fn begin_sync(&mut self) {
        let Some(project) = self.workspace.document().locked_project.clone() else { return };
        self.set_mode(WorkspaceMode::Syncing);
        let stop = CancellationToken::new();
        let work = self.sync(project, stop.clone());
        let inside = self.inside.clone();
        let task = tokio::spawn(async move {
            let checkout = work.await;
            // An error means that the process is ending.
            let _ending = inside.send(Inside::Synced { checkout }).await;
        });
        self.syncing = Some(Syncing { _stop: stop.drop_guard(), _task: AbortOnDropHandle::new(task) });
    }

    pub(super) async fn synced(&mut self, checkout: Result<(), String>) {
        // The lock was let go meanwhile.
        if self.syncing.take().is_none() {
            return;
        }
        let now = Timestamp::now();
        let noted = checkout.and_then(|()| {
            let note = |document: &mut WorkspaceDocument| {
                if let Some(project) = document.locked_project.clone() {
                    document.synced(&project, now);
                }
            };
            self.workspace.update(note).map_err(|error| refusal(&error).message)
        });
        match noted {
            Ok(()) => self.say("The project is ready"),
            Err(why) => {
                tracing::warn!(why, "failed to synchronise the project");
                self.log(LogLevel::Error, &format!("The project could not be synchronised: {why}"));
                self.say(&format!("The project could not be synchronised: {why}"));
            }
        }
        self.set_mode(WorkspaceMode::Idle);
        self.begin_waiting_turn().await;
    }
}

/// The disk does not take a change of `workspace.json`.
fn refusal(error: &WorkspaceError) -> Refusal {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    Refusal::new(Code::Io, format!("{error}{cause}"))
}

/// Bound or free, as `workspace.json` tells it.
pub(super) fn status(document: &WorkspaceDocument) -> DroneStatus {
    if document.chat_session.is_some() { DroneStatus::Busy } else { DroneStatus::Available }
}

fn note_status(document: &mut WorkspaceDocument) {
    let status = status(document);
    if let Some(registration) = &mut document.registration {
        registration.status = status;
    }
}

/// A slug is the name of a directory in the workspace.
fn check_slug(slug: &str) -> Result<(), Refusal> {
    let is_name = !slug.is_empty()
        && slug.len() <= 128
        && !slug.starts_with('.')
        && slug.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if is_name && slug != "lost+found" {
        Ok(())
    } else {
        Err(Refusal::new(Code::Invalid, "the project's slug must be letters, digits, -, _ and ."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_never_leads_out_of_the_workspace_or_into_its_own_files() {
        for good in ["boats", "my-project_2", "a.b"] {
            assert!(check_slug(good).is_ok(), "{good}");
        }
        for bad in ["", ".gadget", "..", "a/b", "a b", "ä"] {
            assert!(check_slug(bad).is_err(), "{bad}");
        }
    }
}
