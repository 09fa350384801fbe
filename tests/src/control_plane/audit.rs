//! The API server's audit log: who asked for what. The only witness of what a controller costs.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

/// The file, and where in it a look begins.
#[derive(Clone, Debug)]
pub struct Audit {
    path: PathBuf,
}

/// A place in the log. Entries that are written later come after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position(u64);

/// A request that was answered; a watch, as soon as it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub user: String,
    pub user_agent: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// With its subresource: `pods`, `pods/status`.
    pub resource: String,
    pub group: String,
    pub namespace: String,
    pub name: String,
    /// HTTP status of the answer.
    pub code: u16,
    /// When the API server had read the request.
    pub received: Timestamp,
    /// When it had answered, or when a watch began.
    pub answered: Timestamp,
}

impl Entry {
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch") && !self.is_question()
    }

    /// Reviews are created, but nothing is kept of them.
    fn is_question(&self) -> bool {
        self.resource.ends_with("reviews")
    }

    pub fn is_event(&self) -> bool {
        self.resource == "events"
    }

    pub fn is_lease(&self) -> bool {
        self.resource == "leases"
    }
}

impl Audit {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub fn position(&self) -> Result<Position> {
        let length = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        Ok(Position(length))
    }

    pub fn all(&self) -> Result<Vec<Entry>> {
        self.since(Position::default())
    }

    /// In the order in which they were answered. A request that is answered right now may be written a moment later:
    /// look with `eventually`, or see `ControlPlane::settled_audit`.
    pub fn since(&self, Position(start): Position) -> Result<Vec<Entry>> {
        let mut file = match std::fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).context("failed to open the audit log"),
        };
        file.seek(SeekFrom::Start(start))?;
        let mut text = String::new();
        file.read_to_string(&mut text).context("failed to read the audit log")?;
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().filter_map(|line| read(line).transpose()).collect()
    }
}

/// How often each `verb resource` occurs, such as `create pods` or `patch chatsessions/status`.
pub fn counts<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for entry in entries {
        *counts.entry(format!("{} {}", entry.verb, entry.resource)).or_default() += 1;
    }
    counts
}

/// Successful writes of one user agent, by a part of its name; events and leases apart.
pub fn writes(entries: &[Entry], user_agent: &str) -> BTreeMap<String, usize> {
    counts(entries.iter().filter(|entry| {
        entry.user_agent.contains(user_agent)
            && entry.is_write()
            && !entry.is_event()
            && !entry.is_lease()
            && entry.code < 300
    }))
}

/// How often one user agent was told no when it wanted to write; events and leases apart.
pub fn refused(entries: &[Entry], user_agent: &str) -> usize {
    let refused = entries.iter().filter(|entry| {
        entry.user_agent.contains(user_agent)
            && entry.is_write()
            && !entry.is_event()
            && !entry.is_lease()
            && entry.code >= 300
    });
    refused.count()
}

/// Lists and gets of one user agent, leases apart.
pub fn reads(entries: &[Entry], user_agent: &str) -> usize {
    let reads = entries.iter().filter(|entry| {
        entry.user_agent.contains(user_agent) && matches!(&*entry.verb, "get" | "list") && !entry.is_lease()
    });
    reads.count()
}

fn read(line: &str) -> Result<Option<Entry>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Line {
        stage: String,
        verb: String,
        user: User,
        #[serde(default)]
        user_agent: String,
        #[serde(default)]
        object_ref: Option<Object>,
        #[serde(default)]
        response_status: Option<Status>,
        request_received_timestamp: Timestamp,
        stage_timestamp: Timestamp,
    }
    #[derive(Deserialize)]
    struct User {
        username: String,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Object {
        resource: String,
        subresource: String,
        api_group: String,
        namespace: String,
        name: String,
    }
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        code: u16,
    }
    let Line {
        stage,
        verb,
        user,
        user_agent,
        object_ref,
        response_status,
        request_received_timestamp,
        stage_timestamp,
    } = serde_json::from_str(line).with_context(|| format!("the audit log has a strange line: {line}"))?;
    let told = if verb == "watch" { "ResponseStarted" } else { "ResponseComplete" };
    if stage != told {
        return Ok(None);
    }
    let Object { resource, subresource, api_group, namespace, name } = object_ref.unwrap_or_default();
    let resource = if subresource.is_empty() { resource } else { format!("{resource}/{subresource}") };
    Ok(Some(Entry {
        user: user.username,
        user_agent,
        verb,
        resource,
        group: api_group,
        namespace,
        name,
        code: response_status.map(|status| status.code).unwrap_or_default(),
        received: request_received_timestamp,
        answered: stage_timestamp,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_once_and_a_watch_when_it_begins() {
        let line = |stage: &str, verb: &str, subresource: &str| {
            format!(
                r#"{{"stage":"{stage}","verb":"{verb}","user":{{"username":"u"}},"userAgent":"operator/1",
                "objectRef":{{"resource":"pods","subresource":"{subresource}","namespace":"n","name":"p"}},"responseStatus":{{"code":200}},
                "requestReceivedTimestamp":"2026-01-02T03:04:05.000006Z","stageTimestamp":"2026-01-02T03:04:05.000007Z"}}"#
            )
            .replace('\n', "")
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let lines = [
            line("ResponseComplete", "create", ""),
            line("ResponseComplete", "patch", "status"),
            line("ResponseStarted", "watch", ""),
            line("ResponseComplete", "watch", ""),
            r#"{"half": "#.to_owned(),
        ];
        std::fs::write(&path, lines.join("\n")).unwrap();
        let entries = Audit::new(path).all().unwrap();
        let expected = [("create pods", 1), ("patch pods/status", 1), ("watch pods", 1)];
        let expected = expected.map(|(what, times)| (what.to_owned(), times));
        assert_eq!(counts(&entries), BTreeMap::from(expected));
        assert_eq!(writes(&entries, "operator").values().sum::<usize>(), 2);
        assert!(writes(&entries, "hub").is_empty());
    }
}
