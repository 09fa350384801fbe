//! A git server that wants a password: git's own `http-backend` behind a little HTTP.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use tests::repository::{Repository, git};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::task::AbortOnDropHandle;

/// Larger packs are not for tests.
const LARGEST: usize = 16 * 1024 * 1024;

pub(super) struct GitServer {
    /// With its port.
    pub(super) host: String,
    directory: tempfile::TempDir,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

struct Shared {
    root: PathBuf,
    user: &'static str,
    /// What `Authorization` must be.
    expected: String,
    password: &'static str,
    /// Processes that showed the password while git was being served.
    leaks: Mutex<Vec<String>>,
}

impl GitServer {
    /// Serves a copy of the repository as `boats.git`.
    pub(super) async fn start(
        repository: &Repository,
        user: &'static str,
        password: &'static str,
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let source = repository.path().display().to_string();
        git(directory.path(), &["clone", "--quiet", "--bare", &source, "boats.git"]).await?;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let shared = Arc::new(Shared {
            root: directory.path().to_owned(),
            user,
            expected: format!("Basic {pair}"),
            password,
            leaks: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let host = listener.local_addr()?.to_string();
        let router = Router::new().fallback(serve).with_state(shared.clone());
        let serving = tokio::spawn(async move {
            // It ends with the test.
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self { host, directory, shared, _serving: AbortOnDropHandle::new(serving) })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/boats.git", self.host)
    }

    /// What is in a file of the newest commit.
    pub(super) async fn show(&self, file: &str) -> Result<String> {
        let bare = self.directory.path().join("boats.git");
        git(&bare, &["show", &format!("main:{file}")]).await
    }

    /// Processes that showed the password in their environment or arguments while git was being served.
    pub(super) fn leaks(&self) -> Vec<String> {
        self.shared.leaks.lock().unwrap().clone()
    }
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if given != Some(&shared.expected) {
        let wanted = [(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")];
        return (StatusCode::UNAUTHORIZED, wanted).into_response();
    }
    shared.leaks.lock().unwrap().extend(showing(shared.password));
    match backend(&shared, request).await {
        Ok(response) => response,
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}

/// One request as CGI, see git-http-backend(1).
async fn backend(shared: &Shared, request: Request) -> Result<Response> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, LARGEST).await?;
    let of = |name: &str| text(&head.headers, name);
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &shared.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", shared.user)
        .env("REQUEST_METHOD", head.method.as_str())
        .env("PATH_INFO", head.uri.path())
        .env("QUERY_STRING", head.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", of("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", of("content-encoding"))
        .env("GIT_PROTOCOL", of("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let writing = tokio::spawn(async move { stdin.write_all(&body).await });
    let output = child.wait_with_output().await?;
    // A backend that has refused does not read.
    let _refused = writing.await?;
    answer(&output.stdout)
}

fn answer(output: &[u8]) -> Result<Response> {
    let Some(end) = output.windows(4).position(|window| window == b"\r\n\r\n") else {
        bail!("git http-backend gave no headers: {}", String::from_utf8_lossy(output));
    };
    let mut response = Response::builder();
    for line in std::str::from_utf8(&output[..end])?.lines() {
        match line.split_once(": ") {
            Some(("Status", status)) => {
                response = response.status(status.split(' ').next().unwrap_or("500"));
            }
            Some((name, value)) => response = response.header(name, value),
            None => bail!("git http-backend gave a strange header: {line}"),
        }
    }
    Ok(response.body(Body::from(output[end + 4..].to_owned()))?)
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// Processes that show the secret to whoever may look at them.
fn showing(secret: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let files = processes.flat_map(|process| ["environ", "cmdline"].map(|file| process.path().join(file)));
    files
        .filter(|file| {
            let shown = std::fs::read(file).unwrap_or_default();
            String::from_utf8_lossy(&shown).contains(secret)
        })
        .map(|file| file.display().to_string())
        .collect()
}
