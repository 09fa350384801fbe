//! The project's checkout: cloned, fetched or made anew by the git command, so that everything that git can do works
//! here too, and nothing that a person or an agent has not pushed yet is ever thrown away.
//!
//! What to do is decided by [`situation`] alone, from what is found in the workspace; this module carries it out.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::document::Project;
use protocol::error::{Code, Refusal};
use tokio_util::sync::CancellationToken;

use self::git::{Git, GitError};
use self::remote::Remote;
use self::situation::{Advance, Situation, Step, Tree};
use crate::path::OWN;

mod advice;
pub mod credential;
pub mod credential_helper;
pub mod git;
mod progress;
pub mod remote;
mod situation;

/// How git is used.
#[derive(Clone, Debug)]
pub struct GitSettings {
    /// What [`credential::CredentialServer::git_environment`] gives; empty: git has no credentials.
    pub environment: BTreeMap<String, String>,
    /// Clone only so many commits; none: all.
    pub depth: Option<u32>,
    pub clone_timeout: Duration,
    pub fetch_timeout: Duration,
    /// For everything that does not leave the machine.
    pub local_timeout: Duration,
}

impl Default for GitSettings {
    fn default() -> Self {
        Self {
            environment: BTreeMap::new(),
            depth: None,
            clone_timeout: Duration::from_hours(1),
            fetch_timeout: Duration::from_mins(15),
            local_timeout: Duration::from_mins(2),
        }
    }
}

/// Whose name commits get where the checkout and the machine have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    pub name: String,
    pub email: String,
}

/// A checkout that is ready to be worked in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    pub root: PathBuf,
    /// It was not there before.
    pub is_new: bool,
    /// Something was left as it is that a person may want to know of: the words were sent as status too.
    pub notes: Vec<String>,
}

/// Tells what happens while it does: short lines for a person.
pub type Status<'a> = &'a (dyn Fn(String) + Send + Sync);

/// Why there is no checkout to work in.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    #[error("{slug:?} cannot be the name of a directory")]
    Slug { slug: String },
    #[error("{url} cannot be used: {why}")]
    Url { url: String, why: &'static str },
    #[error("{path} is in the way: it is not empty and no git repository; move it elsewhere")]
    InTheWay { path: PathBuf },
    #[error("failed to {what}: {advice}")]
    Git { what: String, advice: String, source: GitError },
    #[error("failed to {what} {path}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

impl From<SyncError> for Refusal {
    fn from(error: SyncError) -> Self {
        let message = match &error {
            SyncError::Io { source, .. } => format!("{error}: {source}"),
            other => other.to_string(),
        };
        Self::new(Code::SyncFailed, message)
    }
}

/// Brings the project's checkout into the workspace, or up to date.
///
/// What is there stays: a tree with changes is only fetched, and so is a branch that has commits of its own. A fetch
/// that fails leaves a checkout that can be worked in, and a note. When cancelled or killed at any moment the next
/// call finds either no checkout or a whole one.
pub async fn sync(
    project: &Project,
    author: Option<&Author>,
    workspace: &Path,
    settings: &GitSettings,
    status: Status<'_>,
    cancel: &CancellationToken,
) -> Result<Checkout, SyncError> {
    let root = checkout_root(workspace, &project.slug)?;
    let remote = project.git_url.as_deref().filter(|url| !url.is_empty()).map(Remote::parse).transpose()?;
    let mut sync = Synchronisation {
        workspace,
        root: &root,
        settings,
        status,
        cancel,
        protocols: match &remote {
            Some(remote) if remote.is_local() => git::LOCAL_PROTOCOLS,
            _ => git::REMOTE_PROTOCOLS,
        },
        notes: Vec::new(),
    };
    sync.remove_half_clones().await?;
    let step = situation::decide(&sync.look().await?, remote.as_ref().map(Remote::url));
    let is_new = match (step, remote) {
        (Step::Init, _) => {
            sync.init().await?;
            true
        }
        (Step::Keep, _) => false,
        (Step::Clone, Some(remote)) => {
            sync.clone(&remote).await?;
            true
        }
        (Step::Update { replace_remote }, Some(remote)) => {
            sync.update(&remote, replace_remote).await?;
            false
        }
        (Step::Refuse, _) | (Step::Clone | Step::Update { .. }, None) => {
            return Err(SyncError::InTheWay { path: root });
        }
    };
    let notes = sync.notes;
    if let Some(author) = author {
        name_author(author, &root, workspace, settings, cancel).await?;
    }
    Ok(Checkout { root, is_new, notes })
}

/// Gives commits of a checkout an author where neither the checkout nor the machine names one.
pub async fn name_author(
    author: &Author,
    root: &Path,
    workspace: &Path,
    settings: &GitSettings,
    cancel: &CancellationToken,
) -> Result<(), SyncError> {
    let (environment, protocols) = (&settings.environment, git::REMOTE_PROTOCOLS);
    let git = Git { directory: root, workspace, environment, protocols, cancel };
    for (key, value) in [("user.name", &author.name), ("user.email", &author.email)] {
        let is_named = git.run_as_user(&["config", "--get", key], settings.local_timeout).await.is_ok();
        if is_named || value.is_empty() {
            continue;
        }
        git.run(&["config", "--local", key, value], settings.local_timeout)
            .await
            .map_err(|source| failed_git("name the author of commits", None, source))?;
    }
    Ok(())
}

/// Where the checkout of a project lies.
pub fn checkout_root(workspace: &Path, slug: &str) -> Result<PathBuf, SyncError> {
    let is_name = !slug.is_empty() && !slug.starts_with('.') && !slug.contains(['/', '\\', '\0']);
    if is_name { Ok(workspace.join(slug)) } else { Err(SyncError::Slug { slug: slug.to_owned() }) }
}

/// One synchronisation.
struct Synchronisation<'a> {
    workspace: &'a Path,
    root: &'a Path,
    settings: &'a GitSettings,
    status: Status<'a>,
    cancel: &'a CancellationToken,
    protocols: &'static str,
    notes: Vec<String>,
}

impl Synchronisation<'_> {
    fn git<'a>(&'a self, directory: &'a Path) -> Git<'a> {
        Git {
            directory,
            workspace: self.workspace,
            environment: &self.settings.environment,
            protocols: self.protocols,
            cancel: self.cancel,
        }
    }

    /// A git command that does not leave the machine.
    async fn local(&self, arguments: &[&str]) -> Result<String, GitError> {
        self.git(self.root).run(arguments, self.settings.local_timeout).await
    }

    fn tell(&self, text: impl Into<String>) {
        (self.status)(text.into());
    }

    /// Tells what was left as it is.
    fn note(&mut self, text: String) {
        (self.status)(text.clone());
        self.notes.push(text);
    }

    /// A clone that was killed has left its directory.
    async fn remove_half_clones(&self) -> Result<(), SyncError> {
        let temporary = self.workspace.join(OWN).join("tmp");
        let failed = |what| {
            let path = temporary.clone();
            move |source| SyncError::Io { what, path, source }
        };
        std::fs::create_dir_all(&temporary).map_err(failed("create"))?;
        let entries = std::fs::read_dir(&temporary).map_err(failed("list"))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(HALF_CLONE))
            {
                // The git that a killed drone has left may be writing there still. Next time then.
                if let Err(error) = tokio::fs::remove_dir_all(&path).await {
                    tracing::warn!(%error, path = %path.display(), "failed to remove half a clone");
                }
            }
        }
        Ok(())
    }

    async fn look(&self) -> Result<Situation, SyncError> {
        let failed = |source| SyncError::Io { what: "look into", path: self.root.to_owned(), source };
        match std::fs::read_dir(self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Situation::Missing),
            Err(error) => return Err(failed(error)),
            Ok(mut entries) => {
                if entries.next().is_none() {
                    return Ok(Situation::Missing);
                }
            }
        }
        match self.local(&["rev-parse", "--git-dir"]).await {
            Ok(_) => {}
            Err(GitError::Failed { .. }) => return Ok(Situation::Foreign),
            Err(source) => return Err(failed_git("look at the checkout", None, source)),
        }
        // It fails when there is none.
        let origin = self.local(&["config", "--local", "--get", "remote.origin.url"]).await.ok();
        Ok(Situation::Repository { origin: origin.map(|url| url.trim().to_owned()) })
    }

    /// A git that was killed has left its lock, and nobody would ever get past it.
    fn remove_stale_lock(&mut self) {
        let lock = self.root.join(".git/index.lock");
        let age =
            std::fs::metadata(&lock).and_then(|found| found.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age > STALE) && std::fs::remove_file(&lock).is_ok() {
            self.note("Removed a lock that an interrupted git had left".to_owned());
        }
    }

    async fn init(&self) -> Result<(), SyncError> {
        self.tell("Making a new repository");
        std::fs::create_dir_all(self.root).map_err(|source| SyncError::Io {
            what: "create",
            path: self.root.to_owned(),
            source,
        })?;
        let made = self.local(&["init", "--quiet"]).await;
        made.map(drop).map_err(|source| failed_git("make a repository", None, source))
    }

    /// Clones beside the project and moves the whole into place.
    async fn clone(&mut self, remote: &Remote) -> Result<(), SyncError> {
        self.tell(format!("Cloning {}", remote.shown()));
        let temporary = tempfile::Builder::new()
            .prefix(HALF_CLONE)
            .tempdir_in(self.workspace.join(OWN).join("tmp"))
            .map_err(|source| SyncError::Io { what: "create", path: self.workspace.join(OWN), source })?;
        let half = temporary.path().join("checkout");
        let depth = self.settings.depth.map(|depth| depth.to_string());
        let mut arguments = vec!["clone", "--progress", "--origin", "origin"];
        if let Some(depth) = &depth {
            // Without the last one only a single branch would ever be seen.
            arguments.extend(["--depth", depth, "--no-single-branch"]);
        }
        let half_text = half.to_string_lossy();
        arguments.extend(["--", remote.url(), &half_text]);
        self.git(self.workspace)
            .run_showing(&arguments, self.settings.clone_timeout, self.status)
            .await
            .map_err(|source| failed_git("clone", Some(remote), source))?;
        self.fill(&half).await;
        std::fs::rename(&half, self.root).map_err(|source| SyncError::Io {
            what: "move the clone to",
            path: self.root.to_owned(),
            source,
        })
    }

    async fn update(&mut self, remote: &Remote, replace_remote: Option<String>) -> Result<(), SyncError> {
        self.remove_stale_lock();
        let failed = |source| failed_git("change the remote", Some(remote), source);
        if let Some(old) = &replace_remote {
            let verb = if old.is_empty() { "add" } else { "set-url" };
            self.tell(format!("The repository is now {}", remote.shown()));
            self.local(&["remote", verb, "origin", remote.url()]).await.map_err(failed)?;
        }
        self.tell(format!("Fetching {}", remote.shown()));
        let fetched = self
            .git(self.root)
            .run_showing(
                &["fetch", "--progress", "--no-recurse-submodules", "origin"],
                self.settings.fetch_timeout,
                self.status,
            )
            .await;
        match (fetched, replace_remote) {
            (Ok(_), _) => {}
            (Err(source @ GitError::Cancelled), _) => return Err(failed_git("fetch", Some(remote), source)),
            (Err(source), Some(old)) => {
                // With the old remote kept, the next attempt begins where this one did.
                let undo: &[&str] = if old.is_empty() {
                    &["remote", "remove", "origin"]
                } else {
                    &["remote", "set-url", "origin", &old]
                };
                self.local(undo).await.map_err(failed)?;
                return Err(failed_git("fetch", Some(remote), source));
            }
            (Err(source), None) => {
                let why = advice::explain(remote, &source);
                self.note(format!("Fetching failed, going on with what is here: {why}"));
                return Ok(());
            }
        }
        self.advance().await
    }

    /// Moves the branch forward where nothing can be lost by it.
    async fn advance(&mut self) -> Result<(), SyncError> {
        let failed = |source| failed_git("look at the checkout", None, source);
        let mut tree = self.tree().await?;
        if let (None, Some(branch)) = (&tree.upstream, &tree.branch) {
            // After a change of remote, and in a repository that was made here: the branch of the same name.
            let upstream = format!("origin/{branch}");
            let reference = format!("refs/remotes/{upstream}");
            if self.local(&["rev-parse", "--verify", "--quiet", &reference]).await.is_ok() {
                if tree.is_unborn {
                    tree.upstream = Some(upstream);
                } else {
                    let set = self.local(&["branch", "--quiet", "--set-upstream-to", &upstream]).await;
                    set.map_err(failed)?;
                    tree = self.tree().await?;
                }
            }
        }
        match situation::advance(&tree) {
            Advance::Nothing => self.tell("Up to date"),
            Advance::Leave(why) => {
                self.note(why);
                return Ok(());
            }
            Advance::FastForward { to, commits } => {
                match self.local(&["merge", "--ff-only", "--quiet", &to]).await {
                    Ok(_) => self.tell(format!("Moved forward by {commits}")),
                    Err(GitError::Failed { stderr, .. }) => {
                        self.note(format!("Left as it is: {}", advice::last_line(&stderr)));
                        return Ok(());
                    }
                    Err(source) => return Err(failed(source)),
                }
            }
        }
        self.fill(self.root).await;
        Ok(())
    }

    async fn tree(&self) -> Result<Tree, SyncError> {
        let status = self.local(&["status", "--porcelain=v2", "--branch"]).await;
        Ok(Tree::parse(&status.map_err(|source| failed_git("look at the checkout", None, source))?))
    }

    /// Submodules and large files. Without them the checkout can still be worked in.
    async fn fill(&mut self, root: &Path) {
        if root.join(".gitmodules").exists() {
            self.tell("Fetching submodules");
            let arguments = ["submodule", "update", "--init", "--recursive", "--progress"];
            let updated =
                self.git(root).run_showing(&arguments, self.settings.clone_timeout, self.status).await;
            if let Err(error) = updated {
                self.note(format!("Submodules are missing: {}", advice::words(&error)));
            }
        }
        if uses_large_files(root) {
            self.fetch_large_files(root).await;
        }
    }

    async fn fetch_large_files(&mut self, root: &Path) {
        if self.git(root).run(&["lfs", "version"], self.settings.local_timeout).await.is_err() {
            self.note("Files in Git LFS are pointers only: git-lfs is not installed here".to_owned());
            return;
        }
        self.tell("Fetching large files");
        for arguments in [&["lfs", "install", "--local", "--skip-repo"][..], &["lfs", "pull"]] {
            let done = self.git(root).run_showing(arguments, self.settings.clone_timeout, self.status).await;
            if let Err(error) = done {
                self.note(format!("Large files are missing: {}", advice::words(&error)));
                return;
            }
        }
    }
}

/// No git command holds the lock of the index for so long.
const STALE: Duration = Duration::from_mins(10);

/// The directories of clones that are not whole yet begin so.
const HALF_CLONE: &str = "clone-";

/// Whether the attributes at the top name the filter of large files.
fn uses_large_files(root: &Path) -> bool {
    std::fs::read_to_string(root.join(".gitattributes")).is_ok_and(|text| text.contains("filter=lfs"))
}

fn failed_git(what: &str, remote: Option<&Remote>, source: GitError) -> SyncError {
    let advice = match remote {
        Some(remote) => advice::explain(remote, &source),
        None => advice::words(&source),
    };
    let what = match remote {
        Some(remote) => format!("{what} {}", remote.shown()),
        None => what.to_owned(),
    };
    SyncError::Git { what, advice, source }
}
