//! Which project and session a start opens, and in which directory: found again, or made.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use hub::app::App;
use hub::auth::account::slug;
use hub::fleet::process::Layout;
use hub::store::{PageRequest, SessionFilter, SessionModel, SessionPatch, StoreError};
use jiff::Timestamp;
use protocol::document::{ChatSession, NEW_SESSION_NAME, Project, SessionStats, User};
use protocol::ids::{ChatSessionId, ProjectId};
use protocol::value::{ChatSessionMode, ReasoningEffort};

use super::models::ChosenModel;

/// The newest sessions, among which the one to go on with is looked for.
const LOOKED_AT: u32 = 200;

/// Where the start leads to.
#[derive(Debug)]
pub(super) struct Place {
    pub project: ProjectId,
    pub session: ChatSessionId,
    pub workspace: PathBuf,
}

/// What `--project` names: an address that git understands, or a repository on this machine.
pub(super) fn repository(given: &str) -> anyhow::Result<String> {
    let path = Path::new(given);
    if !path.exists() {
        let is_address =
            given.contains("://") || given.split_once(':').is_some_and(|(host, _)| host.contains('@'));
        ensure!(
            is_address,
            "--project {given}: there is no such directory, and it is not an address that git knows"
        );
        return Ok(given.to_owned());
    }
    let is_repository =
        path.join(".git").exists() || (path.join("HEAD").exists() && path.join("objects").exists());
    ensure!(
        is_repository,
        "--project {given} is not a git repository: make it one with `git init` and a commit"
    );
    let path = std::fs::canonicalize(path).with_context(|| format!("failed to read {given}"))?;
    path.into_os_string()
        .into_string()
        .ok()
        .with_context(|| format!("--project {given}: the path is not UTF-8"))
}

/// What `--workspace` names: made where it is not there, and refused where it is somebody else's.
pub(super) fn checked_workspace(dir: &Path) -> anyhow::Result<PathBuf> {
    let failed = || format!("failed to use {} as the workspace", dir.display());
    std::fs::create_dir_all(dir).with_context(failed)?;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(failed)? {
        names.push(entry.with_context(failed)?.file_name());
    }
    let is_workspace = names.iter().any(|name| name == ".gadget");
    if !is_workspace && names.iter().any(|name| name != "lost+found") {
        bail!(
            "--workspace {0} is neither empty nor a workspace: choose an empty directory; to work on a repository, \
             name it with --project and it is cloned",
            dir.display()
        );
    }
    std::fs::canonicalize(dir).with_context(failed)
}

pub(super) async fn find_or_make(
    app: &App,
    data: &Path,
    owner: &User,
    model: &ChosenModel,
    git_url: Option<String>,
    workspace: Option<PathBuf>,
) -> anyhow::Result<Place> {
    let layout = Layout::new(data);
    let wanted = match git_url {
        Some(url) => Wanted::Repository(url),
        None if *model == ChosenModel::Demo => Wanted::Repository(demo_repository(data).await?),
        None => Wanted::Empty,
    };
    let project = match known_project(app, owner, &wanted).await? {
        Some(project) => project,
        None => make_project(app, owner, &wanted, *model == ChosenModel::Demo).await?,
    };
    let page = PageRequest { cursor: None, limit: LOOKED_AT, newest_first: true };
    let filter = SessionFilter { project: Some(project.id.clone()), archived: Some(false) };
    let sessions = app.store.sessions(&owner.id, filter, page).await?.items;
    let known = sessions.into_iter().find(|session| match &workspace {
        Some(wanted) => workspace_of(&layout, session).is_ok_and(|dir| dir == *wanted),
        None => true,
    });
    let mut session = if let Some(session) = known {
        session
    } else {
        let session = new_session(owner, &project);
        if let Some(dir) = &workspace {
            layout.assign_workspace(&session.id, dir).context("failed to note the session's workspace")?;
        }
        app.store.insert_session(session.clone()).await?;
        session
    };
    if let Some(model) = wanted_model(&session, model) {
        let patch = SessionPatch { model: Some(model), ..SessionPatch::default() };
        session = app.store.patch_session(&session.id, patch).await?;
    }
    let workspace = workspace_of(&layout, &session).unwrap_or_else(|_| layout.session_workspace(&session.id));
    Ok(Place { project: project.id, session: session.id, workspace })
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Repository(String),
    Empty,
}

impl Wanted {
    fn git_url(&self) -> Option<&str> {
        match self {
            Self::Repository(url) => Some(url),
            Self::Empty => None,
        }
    }

    fn name(&self) -> String {
        let name = self.git_url().and_then(|url| {
            let last = url.trim_end_matches('/').rsplit(['/', ':']).next()?;
            Some(last.strip_suffix(".git").unwrap_or(last).to_owned())
        });
        name.filter(|name| !slug(name).is_empty()).unwrap_or_else(|| "My project".to_owned())
    }
}

/// A bare repository for the demo tour to clone from, below the data directory.
async fn demo_repository(data: &Path) -> anyhow::Result<String> {
    let path = data.join("demo").join("tour.git");
    let made = path.clone();
    tokio::task::spawn_blocking(move || {
        if let Some(parent) = made.parent() {
            std::fs::create_dir_all(parent)?;
        }
        scripted_model::tour::write_toy_repository(&made).map_err(io::Error::other)
    })
    .await?
    .context("failed to make the demo's repository; is git installed?")?;
    path.into_os_string().into_string().ok().context("the data directory's path is not UTF-8")
}

async fn known_project(app: &App, owner: &User, wanted: &Wanted) -> anyhow::Result<Option<Project>> {
    let mut page = PageRequest { cursor: None, limit: LOOKED_AT, newest_first: true };
    loop {
        let projects = app.store.projects(&owner.id, page.clone()).await?;
        let known = projects.items.into_iter().find(|project| project.git_url.as_deref() == wanted.git_url());
        match (known, projects.next_cursor) {
            (Some(project), _) => return Ok(Some(project)),
            (None, Some(cursor)) => page.cursor = Some(cursor),
            (None, None) => return Ok(None),
        }
    }
}

async fn make_project(app: &App, owner: &User, wanted: &Wanted, demo: bool) -> anyhow::Result<Project> {
    let name = if demo { "Demo tour".to_owned() } else { wanted.name() };
    let base = slug(&name);
    let mut project = Project {
        id: ProjectId::generate(),
        created_at: Timestamp::now(),
        user: owner.id.clone(),
        slug: base.clone(),
        name,
        git_url: wanted.git_url().map(str::to_owned),
        instructions: None,
    };
    // Another repository may have the same last name.
    for number in 2.. {
        match app.store.insert_project(project.clone()).await {
            Err(StoreError::Taken(_)) => project.slug = format!("{base}-{number}"),
            other => {
                other.context("failed to make the project")?;
                break;
            }
        }
    }
    Ok(project)
}

fn new_session(owner: &User, project: &Project) -> ChatSession {
    ChatSession {
        id: ChatSessionId::generate(),
        created_at: Timestamp::now(),
        user: owner.id.clone(),
        project: project.id.clone(),
        name: NEW_SESSION_NAME.to_owned(),
        mode: ChatSessionMode::Build,
        provider: None,
        selected_model: None,
        reasoning_effort: ReasoningEffort::Off,
        workspace_id: None,
        stats: SessionStats::default(),
        archived_at: None,
    }
}

/// What the session is to use from now on; `None`: what it uses already.
fn wanted_model(session: &ChatSession, model: &ChosenModel) -> Option<SessionModel> {
    let (provider, selected_model) = match model {
        ChosenModel::Real { provider, model } => (provider.clone(), model.clone()),
        ChosenModel::Demo => (hub::provider::DEMO.to_owned(), Some(scripted_model::tour::MODEL.to_owned())),
        ChosenModel::None => return None,
    };
    // Whoever chose a model for this session meant it, unless this start names another.
    let same_provider = session.provider.as_ref() == Some(&provider);
    let fits = same_provider && (selected_model.is_none() || session.selected_model == selected_model);
    (!fits).then_some(SessionModel { provider: Some(provider), selected_model })
}

fn workspace_of(layout: &Layout, session: &ChatSession) -> io::Result<PathBuf> {
    std::fs::canonicalize(layout.session_workspace(&session.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_an_address_or_a_repository_on_this_machine() {
        for address in ["https://example.org/a.git", "ssh://git@h/a", "git@example.org:a/b.git"] {
            assert_eq!(repository(address).unwrap(), address);
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        assert!(repository(path).unwrap_err().to_string().contains("git init"));
        assert!(repository("no/such/place").unwrap_err().to_string().contains("no such directory"));
        std::fs::create_dir(dir.path().join(".git")).unwrap();
        assert_eq!(repository(path).unwrap(), dir.path().canonicalize().unwrap().to_str().unwrap());
    }

    #[test]
    fn a_workspace_is_made_and_one_with_other_content_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("a/b");
        checked_workspace(&made).unwrap();
        std::fs::create_dir(made.join("lost+found")).unwrap();
        checked_workspace(&made).unwrap();
        std::fs::write(made.join("notes.txt"), "mine").unwrap();
        assert!(checked_workspace(&made).unwrap_err().to_string().contains("neither empty nor a workspace"));
        std::fs::create_dir(made.join(".gadget")).unwrap();
        checked_workspace(&made).unwrap();
    }

    #[test]
    fn a_project_is_named_after_its_repository() {
        let name = |url: &str| Wanted::Repository(url.to_owned()).name();
        assert_eq!(name("https://example.org/team/tool.git/"), "tool");
        assert_eq!(name("git@example.org:tool.git"), "tool");
        assert_eq!(name("/srv/repos/tool"), "tool");
        assert_eq!(name("/"), "My project");
        assert_eq!(Wanted::Empty.name(), "My project");
    }
}
