//! The lock of a chat session on this drone, and bringing its project into the workspace.

use jiff::Timestamp;
use protocol::document::Project;
use protocol::error::{Code, Refusal};
use protocol::value::{ChatTurnStatus, DroneStatus, LogLevel, WorkspaceMode};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use super::{Drone, Inside};
use crate::connection::LockSession;
use crate::workspace::WorkspaceError;
use crate::workspace::document::{LockedProject, LockedSession, WorkspaceDocument};

/// The synchronisation that goes on. Dropping it ends git.
pub(super) struct Syncing {
    /// Tells it apart from every other one of this process: the news of one that was given up may still be on its way.
    number: u64,
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
            self.take_address(project.git_url)?;
            self.resync_if_needed();
            return Ok(());
        }
        if self.has_live_turn() {
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
        if self.has_live_turn() {
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

    /// Somebody has corrected where the project comes from.
    pub(super) fn take_address(&mut self, git_url: Option<String>) -> Result<(), Refusal> {
        let change = |document: &mut WorkspaceDocument| {
            if let Some(project) = &mut document.locked_project {
                project.git_url = git_url;
            }
        };
        self.workspace.update(change).map_err(|error| refusal(&error))
    }

    /// A lock whose project never got here, because git failed or the process died meanwhile.
    pub(super) fn resync_if_needed(&mut self) {
        if self.lacks_checkout() && self.turn.is_none() {
            self.begin_sync();
        }
    }

    /// The locked project is not there to be worked in.
    pub(super) fn lacks_checkout(&self) -> bool {
        self.workspace.document().locked_project.as_ref().is_some_and(|project| !self.has_checkout(project))
    }

    /// Unless it goes on already.
    pub(super) fn begin_sync(&mut self) {
        let Some(project) = self.workspace.document().locked_project.clone() else { return };
        if self.syncing.is_some() {
            return;
        }
        self.syncs += 1;
        let number = self.syncs;
        self.set_mode(WorkspaceMode::Syncing);
        let stop = CancellationToken::new();
        let work = self.sync(project, stop.clone());
        let inside = self.inside.clone();
        let task = tokio::spawn(async move {
            let checkout = work.await;
            // An error means that the process is ending.
            let _ending = inside.send(Inside::Synced { number, checkout }).await;
        });
        self.syncing =
            Some(Syncing { number, _stop: stop.drop_guard(), _task: AbortOnDropHandle::new(task) });
    }

    pub(super) async fn synced(&mut self, number: u64, checkout: Result<(), Refusal>) {
        // The lock was let go meanwhile, and perhaps taken for another project.
        if self.syncing.take_if(|syncing| syncing.number == number).is_none() {
            return;
        }
        let now = Timestamp::now();
        let noted = checkout.and_then(|()| {
            let note = |document: &mut WorkspaceDocument| {
                if let Some(project) = document.locked_project.clone() {
                    document.synced(&project, now);
                }
            };
            self.workspace.update(note).map_err(|error| refusal(&error))
        });
        self.set_mode(WorkspaceMode::Idle);
        match noted {
            Ok(()) => {
                self.say("The project is ready");
                self.begin_waiting_turn().await;
            }
            Err(refusal) => {
                tracing::warn!(%refusal, "failed to synchronise the project");
                let words = format!("The project could not be synchronised: {}", refusal.message);
                self.log(LogLevel::Error, &words);
                self.say(&words);
                let words = format!("{}: {}", refusal.code.as_str(), refusal.message);
                self.end_waiting_turn(ChatTurnStatus::Error, words);
            }
        }
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
    use crate::job::DEFAULT_MORE_TASKS;
    use crate::model::endpoint::Clocks;
    use crate::run::config::RunConfig;

    async fn drone(directory: &std::path::Path) -> Drone {
        let minute = std::time::Duration::from_mins(1);
        let config = RunConfig {
            workspace: directory.join("workspace"),
            // Nobody is there.
            hub: "http://127.0.0.1:9".to_owned(),
            registration: "drone-1".into(),
            token_file: directory.join("token"),
            orphan_timeout: minute,
            heartbeat_timeout: minute,
            clocks: Clocks::default(),
            clone_depth: None,
            job_tasks: DEFAULT_MORE_TASKS,
            health_listen: None,
            job_program: "gadget-drone".into(),
            job_prefix: Vec::new(),
            process_restarts: 0,
            last_exit: None,
        };
        Drone::start(config).await.unwrap()
    }

    fn project(id: &str) -> Project {
        Project {
            id: id.into(),
            created_at: Timestamp::UNIX_EPOCH,
            user: "u".into(),
            name: id.to_owned(),
            slug: id.to_owned(),
            git_url: None,
            instructions: None,
        }
    }

    #[tokio::test]
    async fn the_late_news_of_one_project_say_nothing_of_another() {
        let directory = tempfile::tempdir().unwrap();
        let mut drone = drone(directory.path()).await;
        let session = || LockSession { id: "s".into(), name: String::new() };
        drone.lock(project("one"), session()).unwrap();
        // It is on its way to be told, and the lock goes to another project meanwhile.
        let Some(news @ Inside::Synced { .. }) = drone.inside_queue.recv().await else {
            panic!("not synced")
        };
        drone.release().unwrap();
        drone.lock(project("two"), session()).unwrap();
        drone.on_inside(news).await;
        assert!(drone.syncing.is_some(), "the second synchronisation is given up");
        assert!(!drone.workspace.document().has_checkout(&"two".into()));
        let own = drone.inside_queue.recv().await.unwrap();
        drone.on_inside(own).await;
        assert!(drone.workspace.document().has_checkout(&"two".into()));
        assert!(!drone.workspace.document().has_checkout(&"one".into()));
    }

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
