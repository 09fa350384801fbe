//! Identifiers. Strings on the wire; types of their own here, so that a turn's id is never taken for a session's.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(#[schemars(with = "String")] Arc<str>);

        impl $name {
            /// A new id: a ULID in lower case, so that ids sort by time and fit a DNS label.
            pub fn generate() -> Self {
                Self(ulid::Ulid::generate().to_string().to_ascii_lowercase().into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A person with an account.
    UserId
);
id!(
    /// A project of a user: a git repository, or an empty start.
    ProjectId
);
id!(
    /// A chat session: the conversation about one project, with one drone.
    ChatSessionId
);
id!(
    /// A turn: one prompt and everything that one run of the loop made of it.
    TurnId
);
id!(
    /// A drone registration: one drone with its workspace, over all restarts of its process or pod.
    DroneId
);
id!(
    /// The identity of a workspace directory; a UUID v4 that never changes.
    WorkspaceId
);
id!(
    /// One sending of a turn to a drone. A turn that is retried has a new one for each attempt.
    WorkOrderId
);
id!(
    /// A tool call, as the model named it, made unique within the session by the drone.
    CallId
);
