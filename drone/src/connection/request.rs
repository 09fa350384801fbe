//! What the hub asks of a drone, its arguments checked for type.

use protocol::document::Project;
use protocol::drone::{CrashRecoveryResponse, WorkOrderTurn, name as drone_name};
use protocol::error::{Code, Refusal};
use protocol::ide::{FileReadRequest, FileTreeRequest, FileWriteRequest, name as ide_name};
use protocol::ids::ChatSessionId;
use protocol::value::WorkspaceMode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// A command of the hub.
#[derive(Debug)]
pub enum Request {
    Lock {
        project: Box<Project>,
        session: LockSession,
    },
    Release,
    Heartbeat,
    Mode(WorkspaceMode),
    WorkOrder(Box<WorkOrderTurn>),
    Abort,
    FileTree(FileTreeRequest),
    FileRead(FileReadRequest),
    FileWrite(FileWriteRequest),
    Recovery(CrashRecoveryResponse),
    WorkspaceState,
    Terminate,
    /// The hub drains; the connection will be lost in a moment.
    GoingAway,
}

/// What a lock needs to know of a chat session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LockSession {
    #[serde(rename = "_id")]
    pub id: ChatSessionId,
    #[serde(default)]
    pub name: String,
}

impl Request {
    pub(super) fn parse(event: &str, args: &[Box<RawValue>]) -> Result<Self, Refusal> {
        Ok(match event {
            ide_name::REQUEST_SESSION_LOCK => Self::Lock {
                project: Box::new(argument(event, args, 1)?),
                session: argument(event, args, 2)?,
            },
            ide_name::RELEASE_SESSION_LOCK => Self::Release,
            ide_name::SESSION_HEARTBEAT => Self::Heartbeat,
            ide_name::REQUEST_WORKSPACE_MODE => Self::Mode(argument(event, args, 3)?),
            drone_name::PROCESS_WORK_ORDER => Self::WorkOrder(Box::new(argument(event, args, 1)?)),
            ide_name::ABORT_WORK_ORDER => Self::Abort,
            ide_name::FILE_TREE_REQUEST if args.first().is_none_or(|arg| arg.get() == "null") => {
                Self::FileTree(FileTreeRequest::default())
            }
            ide_name::FILE_TREE_REQUEST => Self::FileTree(argument(event, args, 0)?),
            ide_name::FILE_READ_REQUEST => Self::FileRead(argument(event, args, 0)?),
            ide_name::FILE_WRITE_REQUEST => Self::FileWrite(argument(event, args, 0)?),
            drone_name::CRASH_RECOVERY_RESPONSE => Self::Recovery(argument(event, args, 0)?),
            drone_name::WORKSPACE_STATE => Self::WorkspaceState,
            drone_name::REQUEST_TERMINATION => Self::Terminate,
            ide_name::GOING_AWAY => Self::GoingAway,
            other => {
                return Err(Refusal::new(Code::UnknownEvent, format!("no event is called {other:?}")));
            }
        })
    }
}

fn argument<T: DeserializeOwned>(event: &str, args: &[Box<RawValue>], place: usize) -> Result<T, Refusal> {
    let text = args.get(place).map_or("null", |arg| arg.get());
    serde_json::from_str(text)
        .map_err(|error| Refusal::new(Code::Invalid, format!("{event}, argument {}: {error}", place + 1)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(event: &str, args: &[Value]) -> Result<Request, Refusal> {
        let raw: Vec<_> = args.iter().map(|arg| serde_json::value::to_raw_value(arg).unwrap()).collect();
        Request::parse(event, &raw)
    }

    #[test]
    fn commands_of_the_contract_are_understood() {
        let project = json!({
            "_id": "p", "createdAt": "2026-01-02T03:04:05Z", "user": "u", "name": "P", "slug": "p",
        });
        let session = json!({ "_id": "s", "name": "A session", "mode": "build" });
        let lock = parse("requestSessionLock", &[json!({ "_id": "d" }), project, session]).unwrap();
        assert!(matches!(lock, Request::Lock { session, .. } if session.name == "A session"));
        let mode = parse("requestWorkspaceMode", &[json!(null), json!(null), json!(null), json!("user")]);
        assert!(matches!(mode, Ok(Request::Mode(WorkspaceMode::User))));
        assert!(matches!(parse("fileTreeRequest", &[]), Ok(Request::FileTree(_))));
        let recovery = parse("crashRecoveryResponse", &[json!({ "turnId": "t", "action": "retry" })]);
        assert!(matches!(recovery, Ok(Request::Recovery(_))));
    }

    #[test]
    fn what_is_malformed_or_unknown_is_refused_with_a_code() {
        assert_eq!(parse("requestWorkspaceMode", &[]).unwrap_err().code, Code::Invalid);
        assert_eq!(parse("processWorkOrder", &[json!(1), json!({})]).unwrap_err().code, Code::Invalid);
        assert_eq!(parse("makeCoffee", &[]).unwrap_err().code, Code::UnknownEvent);
    }
}
