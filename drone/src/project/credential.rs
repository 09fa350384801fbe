//! The drone's side of git credentials: a socket in the workspace, where the helper that git calls asks; and the hub,
//! which knows the answer.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use super::credential_helper::{SOCKET_VARIABLE, short_path};
use crate::path::OWN;
use crate::session_token::{SessionToken, SessionTokens};

/// For one question, the hub's answer included.
const PATIENCE: Duration = Duration::from_secs(20);
const LARGEST: u64 = 16 * 1024;
/// How often to look whether the socket is still there.
const LOOK: Duration = Duration::from_secs(1);
/// Questions at the same time; more wait.
const AT_ONCE: usize = 8;

/// Answers git's questions as long as it is there.
#[derive(Debug)]
pub struct CredentialServer {
    socket: PathBuf,
    /// The command that git calls.
    helper: String,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Asks the hub.
#[derive(Clone, Debug)]
pub struct HubCredentials {
    client: reqwest::Client,
    url: Url,
    tokens: SessionTokens,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("failed to listen at {path} for git's questions")]
    Listen { path: PathBuf, source: io::Error },
    #[error("{hub} is no base URL of a hub")]
    Hub { hub: Url },
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Question {
    protocol: String,
    host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    username: String,
    password: String,
}

impl HubCredentials {
    /// `client` must not use a proxy for the outside world: the session's token goes with each question.
    pub fn new(client: reqwest::Client, hub: &Url, tokens: SessionTokens) -> Result<Self, CredentialError> {
        let mut url = hub.clone();
        url.path_segments_mut()
            .map_err(|()| CredentialError::Hub { hub: hub.clone() })?
            .pop_if_empty()
            .extend(["internal", "git-credential"]);
        Ok(Self { client, url, tokens })
    }

    /// The credential for a question; none when the hub has none, or does not answer.
    async fn ask(&self, question: &Question) -> Option<Answer> {
        // A lock brings the token and begins the clone, in any order.
        let token = self.tokens.first().await?;
        let mut answer = self.ask_with(&token, question).await;
        let is_refused = answer.as_ref().is_err_and(|error| error.status() == Some(StatusCode::UNAUTHORIZED));
        if is_refused && let Some(token) = self.tokens.instead_of(&token).await {
            answer = self.ask_with(&token, question).await;
        }
        match answer {
            Ok(answer) => Some(answer),
            Err(error) => {
                let status = error.status().map(|status| status.as_u16());
                tracing::info!(host = question.host, status, "the hub gave no git credential");
                None
            }
        }
    }

    async fn ask_with(&self, token: &SessionToken, question: &Question) -> reqwest::Result<Answer> {
        let request = self.client.post(self.url.clone()).bearer_auth(token.bearer()).json(question);
        request.send().await?.error_for_status()?.json().await
    }
}

impl CredentialServer {
    /// Begins to listen. `program` and `prefix` are how the drone's own sub-commands are called, as in
    /// [`crate::job::JobSettings`]; git gets the program's real path.
    pub fn start(
        workspace: &Path,
        program: &Path,
        prefix: &[std::ffi::OsString],
        hub: HubCredentials,
    ) -> Result<Self, CredentialError> {
        let socket = workspace.join(OWN).join("tmp").join("git").join("credential.sock");
        let failed = |source| CredentialError::Listen { path: socket.clone(), source };
        let listener = listen(&socket).map_err(failed)?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(serve(listener, socket.clone(), Arc::new(hub), stop.clone(), tasks.clone()));
        Ok(Self { helper: helper_command(program, prefix), socket, stop, tasks })
    }

    /// What makes git ask here: for the drone's own git, and for shell jobs.
    pub fn git_environment(&self) -> BTreeMap<String, String> {
        // An empty helper forgets those of the machine.
        let settings = [
            ("credential.helper", ""),
            ("credential.helper", &self.helper),
            ("credential.useHttpPath", "true"),
        ];
        let mut environment = BTreeMap::from([
            (SOCKET_VARIABLE.to_owned(), self.socket.display().to_string()),
            ("GIT_CONFIG_COUNT".to_owned(), settings.len().to_string()),
        ]);
        for (at, (key, value)) in settings.into_iter().enumerate() {
            environment.insert(format!("GIT_CONFIG_KEY_{at}"), key.to_owned());
            environment.insert(format!("GIT_CONFIG_VALUE_{at}"), value.to_owned());
        }
        environment
    }

    /// Stops listening and waits for the questions that are being answered.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for CredentialServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// In a directory that only this user can enter, so that nobody else gets to the socket before its own permissions
/// are set.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = socket.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    }
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = short_path(socket, |path| UnixListener::bind(path))?;
    fs::set_permissions(socket, Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn serve(
    mut listener: UnixListener,
    socket: PathBuf,
    hub: Arc<HubCredentials>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => return,
            place = places.clone().acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
            _ = look.tick() => {
                // The agent may have cleaned up where it may write.
                if !socket.exists() {
                    match listen(&socket) {
                        Ok(new) => listener = new,
                        Err(error) => tracing::warn!(%error, "failed to listen for git's questions again"),
                    }
                }
                continue;
            }
        };
        let (Ok(place), Ok((stream, _))) = (place, accepted) else { continue };
        let hub = hub.clone();
        tasks.spawn(async move {
            if timeout(PATIENCE, answer(stream, &hub)).await.is_err() {
                tracing::warn!("a question of git for a credential took too long");
            }
            drop(place);
        });
    }
}

async fn answer(mut stream: UnixStream, hub: &HubCredentials) {
    let mut text = String::new();
    let read = (&mut stream).take(LARGEST).read_to_string(&mut text).await;
    let reply = match (read, Question::parse(&text)) {
        (Ok(_), Some(question)) => match hub.ask(&question).await {
            Some(Answer { username, password }) if is_line(&username) && is_line(&password) => {
                format!("username={username}\npassword={password}\n")
            }
            // Git must not go on asking elsewhere.
            _ => "quit=1\n".to_owned(),
        },
        _ => return,
    };
    if let Err(error) = stream.write_all(reply.as_bytes()).await {
        tracing::debug!(%error, "git did not wait for its credential");
    }
}

impl Question {
    /// Reads git's words, see git-credential(1).
    fn parse(text: &str) -> Option<Self> {
        let (mut protocol, mut host, mut path) = (None, None, None);
        for line in text.lines() {
            match line.split_once('=') {
                Some(("protocol", value)) => protocol = Some(value.to_owned()),
                Some(("host", value)) => host = Some(value.to_owned()),
                Some(("path", value)) => path = Some(value.to_owned()),
                _ => {}
            }
        }
        Some(Self { protocol: protocol?, host: host?, path })
    }
}

fn is_line(text: &str) -> bool {
    !text.contains(['\n', '\0'])
}

/// The value of `credential.helper`: a shell command, as it begins with an exclamation mark.
fn helper_command(program: &Path, prefix: &[std::ffi::OsString]) -> String {
    // A name such as /proc/self/exe means something else to git.
    let program = fs::canonicalize(program).unwrap_or_else(|_| program.to_owned());
    let mut command = format!("!{}", quote(&program.to_string_lossy()));
    for word in prefix {
        command.push(' ');
        command += &quote(&word.to_string_lossy());
    }
    command + " git-credential"
}

/// For the shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_of_git_are_read() {
        let question =
            Question::parse("protocol=https\nhost=example.org:8443\npath=a/b.git\nwwwauth[]=Basic\n\n");
        let expected = Question {
            protocol: "https".into(),
            host: "example.org:8443".into(),
            path: Some("a/b.git".into()),
        };
        assert_eq!(question, Some(expected));
        assert_eq!(Question::parse("protocol=https\n"), None);
        assert_eq!(Question::parse(""), None);
    }

    #[test]
    fn the_helper_command_survives_the_shell() {
        let command = helper_command(Path::new("/opt/it's here/gadget"), &["drone".into()]);
        assert_eq!(command, r"!'/opt/it'\''s here/gadget' 'drone' git-credential");
    }
}
