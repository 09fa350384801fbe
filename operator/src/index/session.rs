//! What is read of a ChatSession.

use crds::chat_session::{Adoption, AdoptionState, SessionWorkspace};
use crds::value::OperatingMode;
use crds::{ChatSession, ChatSessionStatus, names};
use k8s_openapi::jiff::Timestamp;

use super::seen::{self, Broken, Name, Seen, Uid};

#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    pub name: Name,
    pub uid: Uid,
    pub version: u64,
    pub generation: i64,
    pub deleting: bool,
    pub created: Timestamp,
    pub wishes: Wishes,
    /// Without `adoption`, which is the hub's.
    pub status: ChatSessionStatus,
    /// What the hub says of a session that it does not take in before somebody does something.
    pub kept_out: Option<Adoption>,
}

/// What of the spec makes a difference to a drone.
#[derive(Clone, Debug, PartialEq)]
pub struct Wishes {
    pub user: Name,
    pub mode: OperatingMode,
    pub class: Option<Name>,
    pub workspace: SessionWorkspace,
    /// An unbound drone to use.
    pub drone: Option<Name>,
}

impl Session {
    /// The drone that is, or will be, the session's.
    pub fn drone_name(&self) -> String {
        match &self.wishes.drone {
            Some(drone) => drone.to_string(),
            None => names::drone(&self.name),
        }
    }
}

impl From<ChatSession> for Session {
    fn from(session: ChatSession) -> Self {
        let ChatSession { metadata, spec, status } = session;
        let mut status = status.unwrap_or_default();
        let adoption = status.adoption.take();
        Self {
            name: seen::name(&metadata),
            uid: seen::uid(&metadata),
            version: seen::version(&metadata),
            generation: seen::generation(&metadata),
            deleting: metadata.deletion_timestamp.is_some(),
            created: seen::created(&metadata),
            wishes: Wishes {
                user: spec.user.into(),
                mode: spec.operating_mode,
                class: spec.class_name.map(Into::into),
                workspace: spec.workspace.unwrap_or_default(),
                drone: spec.drone.map(Into::into),
            },
            status,
            kept_out: adoption.filter(|adoption| {
                matches!(adoption.state, AdoptionState::UserUnknown | AdoptionState::ProjectDiffers)
            }),
        }
    }
}

impl Seen<Session> {
    pub fn uid(&self) -> &Uid {
        match self {
            Self::Good(session) => &session.uid,
            Self::Broken(broken) => &broken.uid,
        }
    }
}

impl From<kube::core::DeserializeGuard<ChatSession>> for Seen<Session> {
    fn from(guard: kube::core::DeserializeGuard<ChatSession>) -> Self {
        match guard.0 {
            Ok(good) => Self::Good(Session::from(good).into()),
            Err(invalid) => Self::Broken(Broken::new(&invalid.metadata, invalid.error).into()),
        }
    }
}
