//! Git credentials: sealed in the store for one project and one host, answered to the drone that works on that project.
//!
//! `POST /internal/git-credential` with a session token and what git's credential helper is asked, `{ protocol, host,
//! path? }`. Anything but the project's own host, over TLS, is answered as if there were no credential: a repository
//! could name another server in a submodule, and would be sent the password of this one.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use protocol::error::{Code, Refusal};
use protocol::ids::ProjectId;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::app::SharedApp;
use crate::auth::seal::{SealError, Sealer};
use crate::model_proxy::live_drone;
use crate::store::{CredentialRecord, refuse};

/// What git sends to a server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitCredential {
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for GitCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GitCredential(…)")
    }
}

/// What git asks its helper.
#[derive(Debug, Deserialize)]
struct Question {
    protocol: String,
    /// With the port where it is not the protocol's own.
    host: String,
}

pub fn router() -> Router<SharedApp> {
    Router::new().route("/internal/git-credential", post(answer))
}

/// Seals a credential for one project and one host.
pub fn seal(
    sealer: &Sealer,
    project: &ProjectId,
    host: &str,
    credential: &GitCredential,
) -> Result<CredentialRecord, Refusal> {
    let internal = |message: String| Refusal::new(Code::Internal, message);
    if host.is_empty() || host.contains(['/', '@', ' ', '\n']) {
        return Err(Refusal::new(
            Code::Invalid,
            "host must be the name of the git server alone, with its port where it has one: git.example.org:8443",
        ));
    }
    // Git's helper protocol is made of lines.
    if [&credential.username, &credential.password].iter().any(|text| text.contains(['\n', '\r', '\0'])) {
        return Err(Refusal::new(Code::Invalid, "user name and password must be one line each"));
    }
    let plain = serde_json::to_string(credential).map_err(|error| internal(error.to_string()))?;
    let host = host.to_ascii_lowercase();
    sealer
        .seal(&place(project, &host), &plain)
        .map(|sealed| CredentialRecord {
            project: project.clone(),
            host: host.clone(),
            sealed,
            created_at: Timestamp::now(),
        })
        .map_err(|error| internal(error.to_string()))
}

fn open(sealer: &Sealer, record: &CredentialRecord) -> Result<GitCredential, SealError> {
    let plain = sealer.open(&place(&record.project, &record.host), &record.sealed)?;
    serde_json::from_str(&plain).map_err(|_| SealError::Open)
}

fn place(project: &ProjectId, host: &str) -> String {
    format!("project:{project}:{host}")
}

async fn answer(
    State(app): State<SharedApp>,
    headers: HeaderMap,
    Json(question): Json<Question>,
) -> Response {
    let who = match live_drone(&app, &headers).await {
        Ok(who) => who,
        Err(refusal) if refusal.code == Code::StoreUnavailable => {
            return refused(StatusCode::SERVICE_UNAVAILABLE, &refusal);
        }
        Err(refusal) => return refused(StatusCode::UNAUTHORIZED, &refusal),
    };
    let record = async {
        let Some(session) = app.store.session(&who.session).await? else { return Ok(None) };
        app.store.credential(&session.project).await
    };
    let record = match record.await {
        Ok(record) => record,
        Err(error) => return refused(StatusCode::SERVICE_UNAVAILABLE, &refuse(error)),
    };
    let Some(record) = record.filter(|record| is_for(record, &question)) else {
        let message = format!("the project has no credential for {}", question.host);
        return refused(StatusCode::NOT_FOUND, &Refusal::new(Code::NotFound, message));
    };
    match open(&app.sealer, &record) {
        Ok(credential) => Json(credential).into_response(),
        Err(error) => {
            tracing::error!(project.id = %record.project, error = &error as &dyn std::error::Error,
                "failed to open the git credential of project {}", record.project);
            refused(StatusCode::INTERNAL_SERVER_ERROR, &Refusal::new(Code::Internal, error.to_string()))
        }
    }
}

fn is_for(record: &CredentialRecord, question: &Question) -> bool {
    question.protocol == "https" && question.host.eq_ignore_ascii_case(&record.host)
        || is_loopback(record, question)
}

/// Without TLS only where nobody can listen in.
fn is_loopback(record: &CredentialRecord, question: &Question) -> bool {
    let name = record.host.rsplit_once(':').map_or(record.host.as_str(), |(name, _)| name);
    question.protocol == "http"
        && question.host.eq_ignore_ascii_case(&record.host)
        && matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

fn refused(status: StatusCode, refusal: &Refusal) -> Response {
    (status, Json(json!(refusal))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::keys::Secret;

    fn record(host: &str) -> CredentialRecord {
        let sealer = Sealer::new(&Secret::generate().unwrap());
        let credential = GitCredential { username: "ada".into(), password: "s3cret".into() };
        let record = seal(&sealer, &"p1".into(), host, &credential).unwrap();
        assert_eq!(open(&sealer, &record).unwrap(), credential);
        assert!(!record.sealed.contains("s3cret"));
        record
    }

    fn is_answered(host: &str, protocol: &str, asked: &str) -> bool {
        is_for(&record(host), &Question { protocol: protocol.into(), host: asked.into() })
    }

    #[test]
    fn a_credential_is_for_its_host_alone() {
        assert!(is_answered("git.example.org", "https", "Git.Example.org"));
        for (protocol, asked) in [
            ("https", "example.org"),
            ("https", "git.example.org:8443"),
            ("https", "git.example.org.evil.example"),
            ("http", "git.example.org"),
            ("ssh", "git.example.org"),
        ] {
            assert!(!is_answered("git.example.org", protocol, asked), "{protocol} {asked}");
        }
    }

    #[test]
    fn without_tls_it_is_for_this_machine_alone() {
        assert!(is_answered("127.0.0.1:3000", "http", "127.0.0.1:3000"));
        assert!(!is_answered("127.0.0.1.evil.example", "http", "127.0.0.1.evil.example"));
    }

    #[test]
    fn what_would_break_the_helper_s_lines_is_refused() {
        let sealer = Sealer::new(&Secret::generate().unwrap());
        let credential = GitCredential { username: "ada".into(), password: "a\nhost=evil".into() };
        assert_eq!(seal(&sealer, &"p1".into(), "h", &credential).unwrap_err().code, Code::Invalid);
        let fine = GitCredential { username: "ada".into(), password: "x".into() };
        assert_eq!(seal(&sealer, &"p1".into(), "https://h/", &fine).unwrap_err().code, Code::Invalid);
    }
}
