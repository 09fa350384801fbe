//! Real git repositories for tests, on disk and behind a web server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A bare repository, and a checkout from which commits are pushed to it.
pub(crate) struct Repository {
    pub(crate) directory: tempfile::TempDir,
}

impl Repository {
    pub(crate) fn new() -> Self {
        let repository = Self::empty();
        repository.push("README.md", "first\n");
        repository
    }

    pub(crate) fn empty() -> Self {
        let directory = tempfile::tempdir().unwrap();
        git(directory.path(), &["init", "--quiet", "--bare", "bare.git"]);
        git(directory.path(), &["init", "--quiet", "work"]);
        git(&directory.path().join("work"), &["remote", "add", "origin", "../bare.git"]);
        Self { directory }
    }

    pub(crate) fn bare(&self) -> PathBuf {
        self.directory.path().join("bare.git")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    pub(crate) fn url(&self) -> String {
        self.bare().display().to_string()
    }

    /// Commits a file.
    pub(crate) fn push(&self, path: &str, content: &str) {
        std::fs::write(self.work().join(path), content).unwrap();
        git(&self.work(), &["add", "-A"]);
        self.commit(path);
    }

    pub(crate) fn commit(&self, message: &str) {
        git(&self.work(), &["commit", "--quiet", "-m", message]);
        git(&self.work(), &["push", "--quiet", "origin", "main"]);
        // For web servers that know nothing of git.
        git(&self.bare(), &["update-server-info"]);
    }
}

/// Runs git as a person would, and gives what it printed.
pub(crate) fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=Tester",
            "-c",
            "user.email=tester@example.org",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(["-c", "protocol.file.allow=always"])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A web server on this machine, stopped with the value.
pub(crate) struct Server {
    pub(crate) url: String,
    _serving: tokio_util::task::AbortOnDropHandle<()>,
}

impl Server {
    pub(crate) async fn start(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, _serving: tokio_util::task::AbortOnDropHandle::new(serving) }
    }
}

#[derive(Clone)]
struct Served {
    directory: Arc<PathBuf>,
    /// What `Authorization` must be.
    expected: Option<Arc<str>>,
    /// Objects are kept back until this is true.
    open: watch::Receiver<bool>,
}

/// Serves the repositories below a directory as plain files, which is one of the ways that git can clone.
pub(crate) fn served(directory: &Path, login: Option<(&str, &str)>, open: watch::Receiver<bool>) -> Router {
    let expected = login.map(|(user, password)| {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Arc::from(format!("Basic {pair}"))
    });
    Router::new().fallback(serve).with_state(Served {
        directory: Arc::new(directory.to_owned()),
        expected,
        open,
    })
}

async fn serve(State(mut served): State<Served>, headers: HeaderMap, request: Request) -> Response {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if served.expected.as_deref().is_some_and(|expected| given != Some(expected)) {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")])
            .into_response();
    }
    let path = request.uri().path().trim_start_matches('/').to_owned();
    if path.contains("/objects/") {
        served.open.wait_for(|open| *open).await.unwrap();
    }
    match tokio::fs::read(served.directory.join(path)).await {
        Ok(bytes) => bytes.into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

pub(crate) fn always_open() -> watch::Receiver<bool> {
    watch::channel(true).1
}
