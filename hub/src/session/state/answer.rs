//! The shapes of acks and of events without a number.

use protocol::drone::ProcessExit;
use protocol::error::{Code, Refusal};
use protocol::ide::{DroneStatusEvent, FollowAnswer, name, refusal_ack};
use protocol::ids::{ChatSessionId, DroneId, TurnId};
use protocol::value::WorkspaceMode;
use serde_json::{Value, json};

use crate::fleet::FleetEvent;
use crate::session::state::effect::Note;

pub(super) fn refused(
    event: &str,
    refusal: &Refusal,
    session: &ChatSessionId,
    mode: WorkspaceMode,
) -> Vec<Value> {
    refusal_ack(event, refusal, session.as_str(), mode)
}

pub(super) fn locked(session: &ChatSessionId, drone: Option<&DroneId>) -> Vec<Value> {
    let detail = drone.map_or(Value::Null, |drone| json!({ "registration": { "_id": drone } }));
    vec![true.into(), session.as_str().into(), detail]
}

pub(super) fn done() -> Vec<Value> {
    vec![true.into()]
}

pub(super) fn said(success: bool, message: &str) -> Vec<Value> {
    vec![success.into(), message.into()]
}

pub(super) fn mode(success: bool, mode: WorkspaceMode, reason: Option<&str>) -> Vec<Value> {
    let mut args = vec![success.into(), mode.as_str().into()];
    args.extend(reason.map(Value::from));
    args
}

pub(super) fn submitted(turn: &TurnId) -> Vec<Value> {
    vec![true.into(), json!({ "turnId": turn })]
}

pub(super) fn following(answer: &FollowAnswer) -> Vec<Value> {
    vec![true.into(), json!(answer)]
}

/// The drone's words of a refusal, or our own where it gave none.
pub(super) fn drone_refusal(detail: Option<&Value>, otherwise: Refusal) -> Refusal {
    match detail {
        Some(Value::String(message)) => Refusal::new(otherwise.code, message.clone()),
        Some(detail) => serde_json::from_value(detail.clone()).unwrap_or(otherwise),
        None => otherwise,
    }
}

pub(super) fn unreachable() -> Refusal {
    Refusal::new(Code::DroneUnreachable, "the drone did not answer; try again in a moment")
}

pub(super) fn status(message: impl Into<String>) -> Note {
    Note::Built { name: name::STATUS, args: vec![message.into().into()] }
}

pub(super) fn mode_changed(mode: WorkspaceMode) -> Note {
    Note::Built { name: name::WORKSPACE_MODE_CHANGED, args: vec![mode.as_str().into()] }
}

pub(super) fn tab_lock_denied(message: &str) -> Note {
    Note::Built { name: name::TAB_LOCK_DENIED, args: vec![json!({ "message": message })] }
}

pub(super) fn drone_status(event: &FleetEvent) -> Note {
    let FleetEvent { drone, phase, reason, message, restarts, since } = event.clone();
    let status = DroneStatusEvent { registration_id: drone, phase, reason, message, restarts, since };
    Note::Built { name: name::DRONE_STATUS, args: vec![json!(status)] }
}

/// How a drone's process before this one ended.
pub(super) fn exit_words(exit: ProcessExit) -> String {
    match exit {
        ProcessExit { signal: Some(signal), code: _ } => {
            format!("the drone's process was ended by signal {signal}")
        }
        ProcessExit { code: Some(code), signal: None } => {
            format!("the drone's process ended with code {code}")
        }
        ProcessExit { code: None, signal: None } => "the drone's process ended".to_owned(),
    }
}

pub(super) fn session_updated(changed: Value) -> Note {
    Note::Built { name: name::SESSION_UPDATED, args: vec![changed] }
}

pub(super) fn file_tree_response(path: &str, answer: &Value) -> Note {
    let entries = answer.get("entries").cloned().unwrap_or_else(|| json!([]));
    let mut args = vec![path.into(), entries];
    args.extend(answer.get("error").filter(|error| !error.is_null()).cloned());
    Note::Built { name: name::FILE_TREE_RESPONSE, args }
}
