//! Reaches the project for the hub: its files, and git. The work is done by [`crate::files`] and [`crate::project`],
//! beside everything else.

use std::path::PathBuf;

use jiff::Timestamp;
use protocol::document::{Project, User};
use protocol::drone::WorkOrderSession;
use protocol::error::{Code, Refusal};
use protocol::ide::{FileReadRequest, FileTreeRequest, FileWriteRequest};
use protocol::value::WorkspaceMode;
use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Drone;
use crate::connection::Answer;
use crate::files;
use crate::project::{self, Author, GitSettings};
use crate::workspace::document::LockedProject;

impl Drone {
    pub(super) fn file_tree(&self, request: FileTreeRequest, answer: Answer) {
        match self.project_root() {
            Ok(root) => self.serve(answer, files::tree(root, request)),
            Err(refusal) => refuse(answer, &refusal),
        }
    }

    pub(super) fn file_read(&self, request: FileReadRequest, answer: Answer) {
        match self.project_root() {
            Ok(root) => self.serve(answer, files::read(root, request)),
            Err(refusal) => refuse(answer, &refusal),
        }
    }

    pub(super) fn file_write(&self, request: FileWriteRequest, answer: Answer) {
        if self.mode != WorkspaceMode::User {
            let words = "files can be written in user mode alone; ask for that mode first";
            return refuse(answer, &Refusal::new(Code::Mode, words));
        }
        match self.project_root() {
            Ok(root) => {
                let workspace = self.workspace.paths().root().to_owned();
                self.serve(answer, files::write(workspace, root, request));
            }
            Err(refusal) => refuse(answer, &refusal),
        }
    }

    fn serve<T: Serialize + Send>(
        &self,
        answer: Answer,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) {
        self.requests.spawn(async move {
            match work.await {
                Ok(found) => answer.send(&(true, found)),
                Err(refusal) => refuse(answer, &refusal),
            }
        });
    }

    fn project_root(&self) -> Result<PathBuf, Refusal> {
        let document = self.workspace.document();
        let Some(project) = &document.locked_project else {
            return Err(Refusal::new(Code::NoSession, "no chat session holds this drone's lock"));
        };
        if !self.has_checkout(project) {
            let words = "the project is not in the workspace yet; wait until it is synchronised";
            return Err(Refusal::new(Code::NotFound, words));
        }
        Ok(self.workspace.paths().project(&project.slug))
    }

    /// The project is there to be worked in.
    pub(super) fn has_checkout(&self, project: &LockedProject) -> bool {
        let root = self.workspace.paths().project(&project.slug);
        self.workspace.document().has_checkout(&project.id) && root.is_dir()
    }

    /// Gives commits an author, once for each lock: only a work order says who the user is.
    pub(super) fn author(
        &mut self,
        session: &WorkOrderSession,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        if std::mem::replace(&mut self.has_author, true) {
            return None;
        }
        let User { display_name, email, .. } = &session.user;
        let author = Author { name: display_name.clone(), email: email.clone() };
        let workspace = self.workspace.paths().root().to_owned();
        let root = self.workspace.paths().project(&session.project.slug);
        let settings = GitSettings::default();
        Some(async move {
            let cancel = CancellationToken::new();
            if let Err(error) = project::name_author(&author, &root, &workspace, &settings, &cancel).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "failed to name the author of commits"
                );
            }
        })
    }

    /// Clones, fetches or makes the project. Dropping the work ends git.
    pub(super) fn sync(
        &self,
        locked: LockedProject,
        cancel: CancellationToken,
    ) -> impl Future<Output = Result<(), Refusal>> + Send + 'static {
        let workspace = self.workspace.paths().root().to_owned();
        let settings = GitSettings {
            environment: (*self.job_env).clone(),
            depth: self.config.clone_depth,
            ..GitSettings::default()
        };
        let lines = self.status.clone();
        async move {
            let tell = move |line: String| {
                // Progress comes in plenty: what does not fit is old news.
                let _full = lines.try_send(line);
            };
            let project = document(locked);
            match project::sync(&project, None, &workspace, &settings, &tell, &cancel).await {
                Ok(checkout) => {
                    tracing::info!(is_new = checkout.is_new, "the project is synchronised");
                    Ok(())
                }
                Err(error) => Err(error.into()),
            }
        }
    }
}

fn refuse(answer: Answer, refusal: &Refusal) {
    let Refusal { code, message } = refusal;
    answer.send(&(false, json!({ "error": message, "code": code })));
}

/// The part of a project's document that git needs. The rest is not kept in the workspace.
fn document(locked: LockedProject) -> Project {
    let LockedProject { id, slug, git_url, locked_at: _ } = locked;
    Project {
        id,
        created_at: Timestamp::UNIX_EPOCH,
        user: "".into(),
        name: slug.clone(),
        slug,
        git_url,
        instructions: None,
    }
}
