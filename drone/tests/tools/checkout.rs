//! Project checkouts with real git.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use drone::project::{Author, Checkout, GitSettings, SyncError, sync};
use protocol::document::Project;
use protocol::error::{Code, Refusal};
use protocol::ids::{ProjectId, UserId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::repository::{Repository, Server, always_open, git, served};
use crate::world::{role, until};

struct Place {
    _temporary: Option<tempfile::TempDir>,
    workspace: PathBuf,
    settings: GitSettings,
    cancel: CancellationToken,
    told: Mutex<Vec<String>>,
}

impl Place {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let workspace = temporary.path().to_owned();
        Self { _temporary: Some(temporary), ..Self::at(workspace) }
    }

    fn at(workspace: PathBuf) -> Self {
        Self {
            _temporary: None,
            workspace,
            settings: GitSettings::default(),
            cancel: CancellationToken::new(),
            told: Mutex::default(),
        }
    }

    fn root(&self) -> PathBuf {
        self.workspace.join("project")
    }

    async fn sync(&self, url: Option<&str>) -> Result<Checkout, SyncError> {
        let author = Author { name: "Ada".into(), email: "ada@example.org".into() };
        let status = |line: String| self.told.lock().unwrap().push(line);
        sync(&project("project", url), Some(&author), &self.workspace, &self.settings, &status, &self.cancel)
            .await
    }

    async fn synced(&self, repository: &Repository) -> Checkout {
        self.sync(Some(&repository.url())).await.unwrap()
    }

    async fn refused(&self, url: &str) -> Refusal {
        let refusal = Refusal::from(self.sync(Some(url)).await.unwrap_err());
        assert_eq!(refusal.code, Code::SyncFailed);
        refusal
    }

    fn content(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path)).unwrap()
    }

    fn was_told(&self, words: &str) -> bool {
        self.told.lock().unwrap().iter().any(|line| line.contains(words))
    }

    /// What is left of clones that did not come to their end.
    fn half_clones(&self) -> usize {
        std::fs::read_dir(self.workspace.join(".gadget/tmp")).unwrap().count()
    }
}

fn project(slug: &str, url: Option<&str>) -> Project {
    Project {
        id: ProjectId::from("p"),
        created_at: jiff::Timestamp::UNIX_EPOCH,
        user: UserId::from("u"),
        name: "Project".into(),
        slug: slug.into(),
        git_url: url.map(str::to_owned),
        instructions: None,
    }
}

/// In a process of its own: synchronises until it is killed.
pub(crate) fn sync_until_killed(workspace: &Path) {
    let url = std::fs::read_to_string(workspace.join("url")).unwrap();
    let place = Place::at(workspace.to_owned());
    tokio::runtime::Runtime::new().unwrap().block_on(place.sync(Some(&url))).unwrap();
}

#[tokio::test]
async fn a_project_is_cloned_and_then_follows_its_remote() {
    let (place, repository) = (Place::new(), Repository::new());
    let checkout = place.synced(&repository).await;
    assert_eq!(checkout, Checkout { root: place.root(), is_new: true, notes: Vec::new() });
    assert_eq!(place.content("README.md"), "first\n");
    assert!(place.was_told("Cloning "));
    repository.push("README.md", "second\n");
    let checkout = place.synced(&repository).await;
    assert_eq!(checkout, Checkout { root: place.root(), is_new: false, notes: Vec::new() });
    assert_eq!(place.content("README.md"), "second\n");
    assert!(place.was_told("Moved forward by 1 commit"));
    place.synced(&repository).await;
    assert!(place.was_told("Up to date"));
    assert_eq!(place.half_clones(), 0);
}

#[tokio::test]
async fn changes_that_were_not_committed_are_kept_and_said() {
    let (place, repository) = (Place::new(), Repository::new());
    place.synced(&repository).await;
    std::fs::write(place.root().join("README.md"), "mine\n").unwrap();
    std::fs::write(place.root().join("new"), "mine too\n").unwrap();
    repository.push("README.md", "theirs\n");
    let checkout = place.synced(&repository).await;
    assert_eq!(checkout.notes, ["Left as it is: 1 changed file; fetched 1 new commit"]);
    assert_eq!((place.content("README.md"), place.content("new")), ("mine\n".into(), "mine too\n".into()));
    assert_eq!(git(&place.root(), &["show", "origin/main:README.md"]), "theirs");
}

#[tokio::test]
async fn a_file_that_git_does_not_know_is_not_overwritten() {
    let (place, repository) = (Place::new(), Repository::new());
    place.synced(&repository).await;
    std::fs::write(place.root().join("notes"), "mine\n").unwrap();
    repository.push("notes", "theirs\n");
    let checkout = place.synced(&repository).await;
    assert!(checkout.notes[0].starts_with("Left as it is: "), "{:?}", checkout.notes);
    assert_eq!(place.content("notes"), "mine\n");
    repository.push("other", "x\n");
    std::fs::remove_file(place.root().join("notes")).unwrap();
    assert_eq!(place.synced(&repository).await.notes, Vec::<String>::new());
    assert_eq!(place.content("other"), "x\n");
}

#[tokio::test]
async fn the_lock_of_a_git_that_was_killed_does_not_stay_for_ever() {
    let (place, repository) = (Place::new(), Repository::new());
    place.synced(&repository).await;
    repository.push("README.md", "second\n");
    let lock = std::fs::File::create(place.root().join(".git/index.lock")).unwrap();
    let notes = place.synced(&repository).await.notes;
    assert!(notes[0].contains("index.lock"), "{notes:?}");
    lock.set_modified(std::time::SystemTime::now() - Duration::from_hours(1)).unwrap();
    assert_eq!(place.synced(&repository).await.notes, ["Removed a lock that an interrupted git had left"]);
    assert_eq!(place.content("README.md"), "second\n");
}

#[tokio::test]
async fn commits_that_were_not_pushed_are_kept() {
    let (place, repository) = (Place::new(), Repository::new());
    place.synced(&repository).await;
    std::fs::write(place.root().join("mine"), "x").unwrap();
    git(&place.root(), &["add", "-A"]);
    git(&place.root(), &["commit", "--quiet", "-m", "mine"]);
    let mine = git(&place.root(), &["rev-parse", "HEAD"]);
    assert_eq!(place.synced(&repository).await.notes, Vec::<String>::new());
    repository.push("theirs", "x");
    let notes = place.synced(&repository).await.notes;
    assert!(notes[0].contains("gone different ways (1 commit here, 1 there)"), "{notes:?}");
    assert_eq!(git(&place.root(), &["rev-parse", "HEAD"]), mine);
}

#[tokio::test]
async fn a_project_without_a_remote_becomes_a_repository() {
    let place = Place::new();
    assert!(place.sync(None).await.unwrap().is_new);
    assert_eq!(git(&place.root(), &["symbolic-ref", "HEAD"]), "refs/heads/main");
    std::fs::write(place.root().join("file"), "x").unwrap();
    assert!(!place.sync(None).await.unwrap().is_new);
    assert_eq!(place.content("file"), "x");
    std::fs::remove_dir_all(place.root().join(".git")).unwrap();
    assert!(place.sync(None).await.unwrap().is_new);
    assert_eq!(place.content("file"), "x");
}

#[tokio::test]
async fn files_that_are_in_the_way_of_a_clone_are_not_touched() {
    let (place, repository) = (Place::new(), Repository::new());
    std::fs::create_dir_all(place.root()).unwrap();
    std::fs::write(place.root().join("file"), "x").unwrap();
    let refusal = place.refused(&repository.url()).await;
    assert!(refusal.message.contains("move it elsewhere"), "{}", refusal.message);
    assert_eq!(place.content("file"), "x");
    std::fs::remove_file(place.root().join("file")).unwrap();
    place.synced(&repository).await;
    assert_eq!(place.content("README.md"), "first\n");
}

#[tokio::test]
async fn an_empty_remote_is_cloned_and_followed_once_it_has_commits() {
    let (place, repository) = (Place::new(), Repository::empty());
    place.synced(&repository).await;
    repository.push("file", "x\n");
    let checkout = place.synced(&repository).await;
    assert_eq!(checkout.notes, Vec::<String>::new());
    assert_eq!(place.content("file"), "x\n");
}

#[tokio::test]
async fn another_remote_is_taken_over_and_an_unreachable_one_is_not() {
    let (place, old) = (Place::new(), Repository::new());
    place.synced(&old).await;
    let new = Repository::empty();
    git(&new.work(), &["pull", "--quiet", &old.url(), "main"]);
    new.push("file", "new\n");
    let nowhere = new.directory.path().join("nowhere.git").display().to_string();
    let refusal = place.refused(&nowhere).await;
    assert!(refusal.message.contains("there is no such repository"), "{}", refusal.message);
    assert_eq!(git(&place.root(), &["remote", "get-url", "origin"]), old.url());
    place.synced(&new).await;
    assert_eq!(git(&place.root(), &["remote", "get-url", "origin"]), new.url());
    assert_eq!(place.content("file"), "new\n");
}

#[tokio::test]
async fn a_repository_that_was_made_here_gets_a_remote() {
    let (place, repository) = (Place::new(), Repository::new());
    place.sync(None).await.unwrap();
    place.synced(&repository).await;
    assert_eq!(place.content("README.md"), "first\n");
}

#[tokio::test]
async fn without_its_remote_a_checkout_can_still_be_worked_in() {
    let (place, repository) = (Place::new(), Repository::new());
    place.synced(&repository).await;
    std::fs::rename(repository.bare(), repository.directory.path().join("gone")).unwrap();
    let checkout = place.synced(&repository).await;
    assert!(
        checkout.notes[0].starts_with("Fetching failed, going on with what is here"),
        "{:?}",
        checkout.notes
    );
}

#[tokio::test]
async fn submodules_come_along_and_follow() {
    let (place, inner, outer) = (Place::new(), Repository::new(), Repository::new());
    git(&outer.work(), &["submodule", "--quiet", "add", &inner.url(), "sub"]);
    outer.commit("with a submodule");
    let checkout = place.synced(&outer).await;
    assert_eq!(checkout.notes, Vec::<String>::new());
    assert_eq!(place.content("sub/README.md"), "first\n");
    inner.push("README.md", "second\n");
    git(&outer.work().join("sub"), &["pull", "--quiet", "origin", "main"]);
    git(&outer.work(), &["add", "sub"]);
    outer.commit("a newer one");
    place.synced(&outer).await;
    assert_eq!(place.content("sub/README.md"), "second\n");
}

#[tokio::test]
async fn a_remote_repository_cannot_fetch_from_this_machine_by_its_submodules() {
    let (place, secret, outer) = (Place::new(), Repository::new(), Repository::new());
    git(&outer.work(), &["submodule", "--quiet", "add", &secret.url(), "sub"]);
    outer.commit("with a submodule");
    let server = Server::start(served(outer.directory.path(), None, always_open())).await;
    let checkout = place.sync(Some(&format!("{}/bare.git", server.url))).await.unwrap();
    assert!(checkout.notes[0].starts_with("Submodules are missing: "), "{:?}", checkout.notes);
    assert_eq!(place.content("README.md"), "first\n");
    assert!(!place.root().join("sub/README.md").exists());
}

#[tokio::test]
async fn large_files_that_cannot_be_fetched_are_said() {
    let (place, repository) = (Place::new(), Repository::new());
    std::fs::write(repository.work().join(".gitattributes"), "*.bin filter=lfs diff=lfs merge=lfs -text\n")
        .unwrap();
    repository.push("README.md", "with large files\n");
    let has_lfs = Command::new("git").args(["lfs", "version"]).output().unwrap().status.success();
    let checkout = place.synced(&repository).await;
    let note = "Files in Git LFS are pointers only: git-lfs is not installed here";
    assert_eq!(checkout.notes.iter().any(|line| line == note), !has_lfs, "{:?}", checkout.notes);
}

#[tokio::test]
async fn hooks_of_the_checkout_do_not_run() {
    use std::os::unix::fs::PermissionsExt;
    let (place, repository) = (Place::new(), Repository::new());
    place.synced(&repository).await;
    for name in ["post-merge", "post-checkout", "reference-transaction"] {
        let hook = place.root().join(".git/hooks").join(name);
        std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
        std::fs::write(&hook, "#!/bin/sh\ntouch ran\n").unwrap();
        std::fs::set_permissions(&hook, PermissionsExt::from_mode(0o755)).unwrap();
    }
    repository.push("README.md", "second\n");
    place.synced(&repository).await;
    assert_eq!(place.content("README.md"), "second\n");
    assert!(!place.root().join("ran").exists());
}

#[tokio::test]
async fn a_shallow_clone_has_only_the_newest_commits_and_still_follows() {
    let (mut place, repository) = (Place::new(), Repository::new());
    repository.push("README.md", "second\n");
    repository.push("README.md", "third\n");
    place.settings.depth = Some(1);
    place.sync(Some(&format!("file://{}", repository.url()))).await.unwrap();
    assert_eq!(git(&place.root(), &["rev-list", "--count", "HEAD"]), "1");
    repository.push("README.md", "fourth\n");
    place.sync(Some(&format!("file://{}", repository.url()))).await.unwrap();
    assert_eq!(place.content("README.md"), "fourth\n");
}

#[tokio::test]
async fn commits_have_an_author_and_one_that_is_set_stays() {
    let (place, repository) = (Place::new(), Repository::new());
    place.synced(&repository).await;
    let config = |key: &str| {
        let output =
            Command::new("git").args(["config", "--get", key]).current_dir(place.root()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert!(!config("user.name").is_empty() && !config("user.email").is_empty());
    git(&place.root(), &["config", "--local", "user.name", "Grace"]);
    place.synced(&repository).await;
    assert_eq!(config("user.name"), "Grace");
}

#[tokio::test]
async fn a_credential_that_is_missing_or_refused_is_said_with_its_host() {
    let (place, repository) = (Place::new(), Repository::new());
    let router = served(repository.directory.path(), Some(("ada", "right")), always_open());
    let server = Server::start(router).await;
    let refusal = place.refused(&format!("{}/bare.git", server.url)).await;
    assert!(
        refusal.message.contains("127.0.0.1 wants a credential and there is none"),
        "{}",
        refusal.message
    );
    let with_password = format!("{}/bare.git", server.url.replace("//", "//ada:wrong-secret@"));
    let refusal = place.refused(&with_password).await;
    assert!(refusal.message.contains("127.0.0.1 refused the credential"), "{}", refusal.message);
    assert!(!refusal.message.contains("wrong-secret"), "{}", refusal.message);
    assert!(!place.told.lock().unwrap().iter().any(|line| line.contains("wrong-secret")));
    assert!(!place.root().exists());
    assert_eq!(place.half_clones(), 0);
}

#[tokio::test]
async fn an_unreachable_or_senseless_address_is_said() {
    let place = Place::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refusal = place.refused(&format!("http://{closed}/a.git")).await;
    assert!(refusal.message.contains("127.0.0.1 cannot be reached"), "{}", refusal.message);
    for url in ["ext::sh -c id", "--upload-pack=id", "relative/path"] {
        assert!(place.refused(url).await.message.contains("cannot be used"), "{url}");
    }
    for slug in ["", "..", ".gadget", "a/b"] {
        let (settings, cancel) = (GitSettings::default(), CancellationToken::new());
        let refused = sync(&project(slug, None), None, &place.workspace, &settings, &|_| {}, &cancel).await;
        assert!(matches!(refused, Err(SyncError::Slug { .. })), "{slug}");
    }
}

#[tokio::test]
async fn a_clone_can_be_stopped_and_leaves_nothing() {
    let (place, repository) = (Place::new(), Repository::new());
    let (_gate, open) = watch::channel(false);
    let server = Server::start(served(repository.directory.path(), None, open)).await;
    let url = format!("{}/bare.git", server.url);
    let (result, ()) = tokio::join!(place.sync(Some(&url)), async {
        until("the clone has begun", || place.half_clones() > 0).await;
        place.cancel.cancel();
    });
    assert!(matches!(result, Err(SyncError::Git { .. })), "{result:?}");
    assert!(!place.root().exists());
    assert_eq!(place.half_clones(), 0);
}

#[tokio::test]
async fn a_clone_that_takes_too_long_is_given_up() {
    let (mut place, repository) = (Place::new(), Repository::new());
    place.settings.clone_timeout = Duration::from_millis(300);
    let (_gate, open) = watch::channel(false);
    let server = Server::start(served(repository.directory.path(), None, open)).await;
    let refusal = place.refused(&format!("{}/bare.git", server.url)).await;
    assert!(refusal.message.contains("took longer"), "{}", refusal.message);
    assert_eq!(place.half_clones(), 0);
}

#[tokio::test]
async fn a_drone_killed_in_mid_clone_leaves_nothing_half() {
    let (place, repository) = (Place::new(), Repository::new());
    let (gate, open) = watch::channel(false);
    let server = Server::start(served(repository.directory.path(), None, open)).await;
    let url = format!("{}/bare.git", server.url);
    std::fs::write(place.workspace.join("url"), &url).unwrap();
    let mut drone = Command::new(std::env::current_exe().unwrap())
        .args(role("play_the_sync"))
        .arg("sync")
        .arg(&place.workspace)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let temporary = place.workspace.join(".gadget/tmp");
    until("the clone has begun", || {
        std::fs::read_dir(&temporary).is_ok_and(|mut found| found.next().is_some())
    })
    .await;
    drone.kill().unwrap();
    drone.wait().unwrap();
    assert!(!place.root().exists());
    gate.send(true).unwrap();
    place.sync(Some(&url)).await.unwrap();
    assert_eq!(place.content("README.md"), "first\n");
}
